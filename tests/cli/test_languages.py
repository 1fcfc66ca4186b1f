"""The command line in Korean: our words, and those that typer brings along."""

from collections.abc import Callable
from pathlib import Path

import pytest

Real = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("queues", "--help")])
def test_help_is_korean_throughout(real: Real, words: tuple[str, ...]) -> None:
    code, out, err = real("--lang", "ko", *words)
    assert (code, err) == (0, "")
    assert "사용법: pumasi" in out
    assert "이 도움말을 보여 주고 끝냅니다." in out
    for word in ("Usage", "Options", "OPTIONS", "Arguments", "Commands", "Show this", "required", "default:"):
        assert word not in out


def test_usage_errors_are_korean(real: Real) -> None:
    assert real("--lang=ko", "run")[2] == "오류: FILE이(가) 없습니다\n`pumasi run --help`를 보십시오.\n"
    assert real("--lang=ko", "jbs")[2].startswith("오류: 'jbs'(이)라는 명령은 없습니다. 혹시 jobs입니까?")


def test_the_language_may_stand_in_the_environment_in_dotenv_or_in_the_file(
    real: Real, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    korean = "오류: FILE이(가) 없습니다"
    assert real("run")[2].startswith("error: FILE is missing")  # PUMASI_LANG=en
    monkeypatch.delenv("PUMASI_LANG")
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    assert real("run")[2].startswith("error: FILE is missing")
    (folder / ".env").write_text("PUMASI_LANG=ko\n")
    assert real("run")[2].startswith(korean)
    (folder / ".env").unlink()
    (folder / "pumasi.settings.toml").write_text('lang = "ko"\n')
    assert real("run")[2].startswith(korean)
    assert real("--lang", "en", "run")[2].startswith("error: FILE is missing")


def test_a_bare_locale_speaks_korean_even_to_a_terminal_that_cannot(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PUMASI_LANG")
    monkeypatch.setenv("LC_ALL", "C")
    assert "오류" in real("run")[2]
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    code, _out, err = real("run")
    assert code == 2
    assert err.startswith("\\uc624\\ub958: FILE")
