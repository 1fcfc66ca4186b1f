"""The gate: help, usage errors, exit codes, and never a traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pumasi.cli import app, main
from pumasi.errors import Unavailable

Pumasi = Callable[..., tuple[int, str, str]]


def test_help_lists_every_command(pumasi: Pumasi) -> None:
    code, out, _err = pumasi("--help")
    assert code == 0
    for name, entry in app.entries().items():
        assert f" {name} " in out
        assert entry.summary in out


@pytest.mark.parametrize("name", list(app.entries()))
def test_every_command_has_its_help(pumasi: Pumasi, name: str) -> None:
    code, out, _err = pumasi(name, "--help")
    assert code == 0
    assert f"Usage: pumasi {name} " in out
    assert "Show this help and exit." in out
    assert "<str>" not in out


def test_every_module_of_a_command_is_listed() -> None:
    folder = Path(app.__file__).parent
    commands = {
        path.stem
        for path in folder.glob("*.py")
        if "def command(" in path.read_text() or "def build(app" in path.read_text()
    }
    assert commands == set(app.entries())


def test_without_words_there_is_help(pumasi: Pumasi) -> None:
    code, out, _err = pumasi()
    assert code == 2
    assert "Usage: pumasi" in out


def test_the_version(pumasi: Pumasi) -> None:
    import pumasi as package

    assert pumasi("--version")[:2] == (0, f"pumasi {package.__version__}\n")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["jbs"], "error: there is no command 'jbs'; did you mean jobs?\nSee `pumasi --help`.\n"),
        (["zzz"], "error: there is no command 'zzz'; `pumasi --help` lists them\nSee `pumasi --help`.\n"),
        (["run"], "error: FILE is missing\nSee `pumasi run --help`.\n"),
        (["jobs", "--stat"], "error: there is no option --stat; did you mean --state?\nSee `pumasi jobs --help`.\n"),
        (["jobs", "--zzz"], "error: there is no option --zzz\nSee `pumasi jobs --help`.\n"),
        (
            ["run", "a.py", "--zzz"],
            "error: there is no option --zzz\n"
            "Options of the script itself stand behind --: `pumasi run SCRIPT -- --zzz`.\nSee `pumasi run --help`.\n",
        ),
        (["jobs", "x"], "error: there is one argument too many: x\nSee `pumasi jobs --help`.\n"),
        (["jobs", "--json=1"], "error: option --json takes no value\n"),
        (["run", "x.py", "--timeout"], "error: option --timeout needs a value\n"),
        (["--lang", "fr", "jobs"], "error: --lang is ko or en, not 'fr'\n"),
        (
            ["jobs", "--state", "foo"],
            "error: there is no state 'foo'; there are pending, running, completed, failed, cancelled\n",
        ),
        (
            ["jobs", "--since", "soon"],
            "error: --since: 'soon' is no time; write 2030-01-31T08:00:00Z, or Unix seconds\n",
        ),
        (["jobs", "--limit", "ten"], "error: --limit: 'ten' is no whole number\n"),
        (["show", "0\x1b[31m"], None),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_in_a_line_and_exits_2(pumasi: Pumasi, words: list[str], error: str | None) -> None:
    code, out, err = pumasi(*words)
    if error is None:
        assert "\x1b" not in err
        return
    assert (code, out, err) == (2, "", error)


def test_bad_fields_of_a_job_are_named_by_their_options(pumasi: Pumasi, folder: Path) -> None:
    (folder / "scripts" / "a.py").write_text("def main():\n    return 1\n")
    code, _out, err = pumasi("submit", "a", "--priority", "12", "--timeout", "0", "--processes", "0")
    assert code == 2
    assert err.startswith("error: --priority must be 0 to 9")
    assert "; --timeout must be above 0" in err
    assert "; --processes must be above 0" in err


def test_a_bad_setting_is_told_and_exits_2(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUMASI_SLOTS", "many")
    code, _out, err = pumasi("jobs")
    assert (code, err) == (
        2, "error: setting slots is 'many' (environment PUMASI_SLOTS): it must be a whole number\n",
    )  # fmt: skip


def test_what_was_left_out_of_the_settings_is_told(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBUG", "app:*")
    code, _out, err = pumasi("config")
    assert code == 0
    assert err == "warning: left out: setting debug is 'app:*' (environment DEBUG): it must be true or false\n"


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("what"), OSError(28, "No space left on device", "/x")])
def test_other_errors_exit_1_without_a_traceback(
    pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(name: str) -> None:
        raise ExceptionGroup("several", [error])

    monkeypatch.setattr(app, "load", broken)
    code, _out, err = pumasi("jobs")
    assert code == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err
    with pytest.raises(ExceptionGroup):
        main(["--debug", "jobs"])


def test_an_interrupt_is_quiet(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "load", interrupted)
    assert pumasi("jobs") == (130, "", "")


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    code = "import sys; from pumasi.cli import main; sys.exit(main(['config']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (0, 1)


def test_help_loads_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from pumasi.cli import main; main(['--help']);"
        "heavy = {'pydantic', 'fastapi', 'uvicorn', 'httpx2', 'structlog', 'apsw', 'psutil'} & sys.modules.keys();"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_loads_no_server(folder: Path) -> None:
    (folder / "one.py").write_text("def main():\n    return 1\n")
    code = (
        "import sys; from pumasi.cli import main; main(['run', 'one.py']);"
        "heavy = {'fastapi', 'uvicorn', 'starlette', 'httpx2', 'rich.console', 'structlog'} & sys.modules.keys();"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1\n")
