"""What runs inside is of the standard library alone, and runs under every Python that a script may want."""

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pumasi.sandbox import inside

FOLDER = Path(inside.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))
OLDEST = (3, 9)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_written_in_the_oldest_python_and_imports_only_what_every_python_has(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=OLDEST)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                assert {name.name.partition(".")[0] for name in names} <= sys.stdlib_module_names
            case ast.ImportFrom(module=module, level=level):
                assert level == 1 or (module or "").partition(".")[0] in sys.stdlib_module_names
            case ast.Match() | ast.TryStar():
                pytest.fail(f"{file.name}:{node.lineno} is newer than {OLDEST}")
            case ast.Call(func=ast.Name(id="zip"), keywords=[_, *_]):
                pytest.fail(f"{file.name}:{node.lineno}: zip has no strict= in {OLDEST}")


@pytest.mark.parametrize("file", [file for file in FILES if file.name not in ("__init__.py", "start.py")],
                         ids=lambda file: file.name)  # fmt: skip
def test_no_annotation_is_evaluated(file: Path) -> None:
    assert "from __future__ import annotations\n" in file.read_text()


def pythons() -> list[str]:
    """Other versions that are at hand."""
    named = [shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 20)]
    kept = Path.home().glob(".pyenv/versions/3.*/bin/python3")
    return sorted({"/usr/bin/python3", *map(str, kept), *filter(None, named)})


@pytest.mark.parametrize("python", pythons())
def test_a_template_serves_under_other_pythons(python: str, tmp_path: Path) -> None:
    version = subprocess.run(
        [python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
    )  # a shim of a version that is not chosen fails
    if version.returncode != 0 or tuple(map(int, version.stdout.split())) < OLDEST:
        pytest.skip(f"{python} does not run, or is too old")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(20)
    spec = {"sealed": False, "uids": None, "network": "host", "preload": [], "folder": str(tmp_path), "env": {},
            "root": {"visible": [], "cache": "", "scratch": "", "preload": ""},
            "slot": {"sealed": False, "network": "host", "landlock": 0, "filters": {}, "steps": "basic",
                     "writable": []}}  # fmt: skip
    command = [python, "-I", "-S", "-B", "-X", "utf8", str(FOLDER / "start.py"), str(theirs.fileno())]
    (tmp_path / "main.py").write_text("import sys; print(*sys.version_info[:2])")
    told = {"mode": "none", "folder": str(tmp_path), "entry": str(tmp_path / "main.py"), "parameters": "{}",
            "argv": [], "env": {}, "command": []}  # fmt: skip
    (tmp_path / "told").write_text(json.dumps(told))
    run = {"folder": str(tmp_path), "home": str(tmp_path), "source": "", "scratch": str(tmp_path), "limits": {},
           "timeout": 20.0, "grace": 0.0, "nice": 0, "browser": False, "fence": None, "inodes": 100}  # fmt: skip
    with subprocess.Popen(command, pass_fds=[theirs.fileno()]) as template, ours:
        theirs.close()
        ours.send(json.dumps(spec).encode())
        assert json.loads(ours.recv(65536)) == {"ready": 1, "why": ""}
        slot, keepers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        slot.settimeout(20)
        with slot:
            with keepers:
                socket.send_fds(ours, [b'{"slot": 0}'], [keepers.fileno()])
            assert "born" in json.loads(slot.recv(65536))
            slot.send(b'{"go": []}')
            assert "ready" in json.loads(slot.recv(65536))
            with (tmp_path / "out").open("w+b") as out, (tmp_path / "told").open("rb") as payload:
                fds = [payload.fileno(), out.fileno(), out.fileno(), out.fileno()]
                socket.send_fds(slot, [json.dumps({"run": run}).encode()], fds)
                ended = json.loads(slot.recv(65536))
        ours.close()
        assert template.wait(20) == 0
    assert os.waitstatus_to_exitcode(ended["ended"]) == 0, (tmp_path / "out").read_text()
    assert (tmp_path / "out").read_text() == version.stdout
