"""The command line under test: in this process where that is enough, as a real process where it matters."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pumasi import log
from pumasi.cli import main
from pumasi.config import Settings, aliases
from pumasi.locale import set_language


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Pumasi = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a scripts folder, and no settings from outside."""
    for name in Settings.model_fields:
        for key in (f"PUMASI_{name.upper()}", *aliases(name)):
            monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("PUMASI_LANG", "en")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    return tmp_path


@pytest.fixture
def pumasi(folder: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Pumasi]:
    """`pumasi WORDS…` in this process."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    yield run
    set_language(None)
    log._least, log._format, log._file, log._ready = log.LEVELS["warning"], "console", None, False


@pytest.fixture
def real(folder: Path) -> Pumasi:
    """`pumasi WORDS…` as a process of its own."""

    def run(*words: str, stdin: str = "") -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "pumasi", *words], input=stdin, capture_output=True, text=True, timeout=60
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
