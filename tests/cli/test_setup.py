"""`pumasi config` and `pumasi doctor`, and whom a command speaks to."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pumasi.cli import checks, target
from pumasi.config import Settings
from pumasi.errors import Invalid
from pumasi.tokenfile import running

Pumasi = Callable[..., tuple[int, str, str]]


def tell(folder: Path, **changes: object) -> None:
    """A token file as a gateway writes it."""
    path = folder / ".pumasi" / "token.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "its-token", "pid": os.getpid(), **changes}))
    path.chmod(0o600)


def test_config_shows_each_setting_and_where_it_came_from(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_TOKEN", "hush-hush")
    monkeypatch.setenv("MAX_WORKERS", "7")
    monkeypatch.setenv("PUMASI_BROKER", "sqlite:///x.db")
    monkeypatch.setenv("PUMASI_URL", "http://me:hush@h/")
    code, out, err = pumasi("config")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert set(Settings.model_fields) <= lines.keys()
    assert lines["slots"].split()[1:4] == ["7", "environment", "MAX_WORKERS"]
    assert lines["memory_limit"].split()[1:4] == ["512", "MB", "default"]
    assert lines["token"].split()[1] == "***"
    assert "broker used  sqlite:///x.db (environment PUMASI_BROKER)" in out
    assert "hush" not in out


def test_config_as_json(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_TOKEN", "hush-hush")
    said = json.loads(pumasi("config", "--json", "--check")[1])
    assert said["settings"]["slots"] == {
        "value": 4,
        "origin": "default",
        "environment": ["PUMASI_SLOTS", "MAX_WORKERS"],
    }
    assert said["settings"]["token"]["value"] == "***"
    assert {check["what"]: check["ok"] for check in said["checks"]}["broker"] is True


def test_config_check_tries_the_connections(pumasi: Pumasi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _err = pumasi("config", "--check")
    assert code == 0, out
    assert not (folder / ".pumasi").exists()
    (folder / "db").mkdir()
    monkeypatch.setenv("PUMASI_BROKER", f"sqlite:///{folder}/db")
    code, out, _err = pumasi("config", "--check")
    assert code == 1
    assert "problem" in out
    assert "is a folder" in out


def test_config_check_tries_the_place_for_blobs(pumasi: Pumasi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(url: str) -> tuple[bool, str]:
        monkeypatch.setenv("PUMASI_BLOBS", url)
        checks = json.loads(pumasi("config", "--check", "--json")[1])["checks"]
        return next((check["ok"], check["seen"]) for check in checks if check["what"] == "blobs")

    assert found("") == (True, "in the broker's store")
    assert found(f"file://{folder}/blobs") == (True, f"file://{folder}/blobs; it is made when it is needed")
    assert not (folder / "blobs").exists()
    (folder / "blobs").mkdir()
    assert found(f"file://{folder}/blobs") == (True, f"file://{folder}/blobs")
    ok, seen = found(f"file://{folder}/no/blobs")
    assert not ok and "make it, or mount what belongs there" in seen
    ok, seen = found("nonsense")
    assert not ok and "'nonsense' is no place for blobs" in seen


def test_a_gateway_that_is_gone_is_a_problem(pumasi: Pumasi, folder: Path) -> None:
    tell(folder)
    code, out, _err = pumasi("config", "--check")
    assert code == 1
    assert "http://127.0.0.1:1 did not answer" in out


def test_doctor_is_honest(pumasi: Pumasi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _err = pumasi("doctor")
    assert code == 0
    assert "isolation: level full" in out
    rows = [line for line in out.splitlines() if re.match(r".*  (on|off)  ", line)]
    assert [row[:40].split("  ")[0] for row in rows if "  off  " in row] == ["network"]
    assert "open: a script that asks for nothing reaches whatever this host does" in rows[-1]
    monkeypatch.setenv("PUMASI_OPEN_ACCESS", "true")
    assert "access          note  open: whoever reaches the gateway" in pumasi("doctor")[1]
    said = json.loads(pumasi("doctor", "--json")[1])
    assert said["isolation"] == "full"
    assert {row["name"] for row in said["protections"]} >= {"own files", "own user", "system call filter"}
    assert {check["what"] for check in said["checks"]} >= {"Python", "SQLite", "data folder", "disk", "broker"}


def test_doctor_finds_a_token_that_others_can_read(pumasi: Pumasi, folder: Path) -> None:
    tell(folder, pid=2**22 + 1)
    (folder / ".pumasi" / "token.json").chmod(0o644)
    code, out, _err = pumasi("doctor")
    assert code == 1
    assert ".pumasi/token.json has mode 0644: others can read it; chmod 600 it" in out


def test_doctor_tells_what_a_level_leaves_out_and_why(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_ISOLATION", "basic")
    out = pumasi("doctor")[1]
    assert "isolation: level basic" in out
    off = [row["name"] for row in json.loads(pumasi("doctor", "--json")[1])["protections"] if not row["on"]]
    assert {"own files", "own processes", "no capabilities", "file fence", "network"} <= set(off)


def test_a_level_that_cannot_be_had_is_a_problem(pumasi: Pumasi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_ISOLATION", "require")
    monkeypatch.setenv("PUMASI_PYTHON", "/nowhere/python")
    code, out, _err = pumasi("doctor")
    assert code == 1
    assert "isolation: level none" in out


def test_a_data_folder_that_is_a_file(pumasi: Pumasi, folder: Path) -> None:
    (folder / ".pumasi").write_text("")
    code, out, _err = pumasi("doctor")
    assert code == 1
    assert ".pumasi is no folder" in out


def test_a_network_file_system_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "file_system", lambda path: "nfs4")
    found = checks.usable_folder("data folder", folder / "x")
    assert found.ok is False
    assert "nfs4" in found.seen


def test_the_file_system_of_a_path() -> None:
    assert checks.file_system(Path("/proc/self")) == "proc"


@pytest.mark.parametrize(
    ("url", "setting", "told", "wanted"),
    [
        (None, None, False, ("sqlite:///.pumasi/pumasi.db", None)),
        (None, None, True, ("http://127.0.0.1:1", "its-token")),
        (None, "http://other:1", True, ("http://other:1", None)),
        ("memory://x", "http://other:1", True, ("memory://x", None)),
        ("http://127.0.0.1:1/", None, True, ("http://127.0.0.1:1/", "its-token")),
    ],
)
def test_whom_a_command_speaks_to(
    folder: Path, url: str | None, setting: str | None, told: bool, wanted: tuple[str, str | None]
) -> None:
    if told:
        tell(folder)
    assert target.target(Settings(url=setting), url) == wanted


def test_a_token_of_the_settings_beats_that_of_the_file(folder: Path) -> None:
    tell(folder)
    assert target.target(Settings(token="mine"))[1] == "mine"


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"url": "http://h"}'])
def test_a_broken_token_file_names_nobody(folder: Path, content: str) -> None:
    tell(folder)
    (folder / ".pumasi" / "token.json").write_text(content)
    assert running(Settings().token_file) is None


def test_a_gateway_whose_process_is_gone_is_not_spoken_to(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    tell(folder, pid=process.pid)
    assert running(Settings().token_file) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_token_file_of_somebody_else_is_told(folder: Path) -> None:
    tell(folder)
    (folder / ".pumasi" / "token.json").chmod(0)
    with pytest.raises(Invalid, match="belongs to another user"):
        running(Settings().token_file)
