"""Both languages: nothing lacks a text, nothing is left over, and the language is the one that was asked for."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pumasi import locale
from pumasi.errors import JobNotFound
from pumasi.locale import gettext, language, render, set_language

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def catalogues() -> ModuleType:
    """The tool that keeps the catalogues."""
    spec = importlib.util.spec_from_file_location("catalogues", ROOT / "tools" / "catalogues.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["catalogues"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def unchosen() -> Iterator[None]:
    """The language goes back to what the environment says."""
    set_language(None)
    yield
    set_language(None)


def test_every_text_has_both_languages_and_no_entry_is_left_over(catalogues: ModuleType) -> None:
    assert list(catalogues.problems()) == []


def test_the_source_has_many_texts_so_that_the_search_itself_works(catalogues: ModuleType) -> None:
    texts = catalogues.found_texts()
    found = {text.text: text for text in texts}
    assert len(found) > 500
    assert found["worker.started"].event
    assert found["worker.started"].names == {"worker", "slots", "queues"}
    assert "The sandbox failed, not the script." in found  # a docstring
    assert "time limit of a run" in found  # a setting
    assert "must be at least {wanted}, not {value}" in found  # a table
    assert "Usage: " in found


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ('from x import _\n_("never said before")\n', "ko: no text for 'never said before' (new.py:2)"),
        ('log.info("never.heard")\n', "en: no text for 'never.heard' (new.py:1)"),
        ('text = "one" if x else "two of it"\nraise Invalid(text)\n', "ko: no text for 'two of it' (new.py:2)"),
    ],
)
def test_a_text_without_translation_is_found(
    catalogues: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, complaint: str
) -> None:
    (tmp_path / "errors.py").write_text("class Error(Exception):\n    pass\nclass Invalid(Error):\n    pass\n")
    (tmp_path / "new.py").write_text(source)
    monkeypatch.setattr(catalogues, "SOURCE", tmp_path)
    assert complaint in list(catalogues.problems(catalogues.found_texts(tmp_path)))


def test_an_unused_entry_and_a_wrong_placeholder_are_found(catalogues: ModuleType) -> None:
    texts = catalogues.found_texts()
    without = [text for text in texts if text.text != "Usage: "]
    assert "ko: nobody uses 'Usage: '" in list(catalogues.problems(without))
    fewer = [text._replace(names=frozenset({"slots"})) if text.text == "worker.started" else text for text in texts]
    assert any("'worker.started' has no ['queues', 'worker']" in problem for problem in catalogues.problems(fewer))


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        ({}, "ko"),
        ({"LANG": "C"}, "ko"),
        ({"LANG": "C.UTF-8"}, "ko"),
        ({"LC_ALL": "POSIX"}, "ko"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "PUMASI_LANG": "ko"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "PUMASI_LANG": "en"}, "en"),
    ],
)
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], chosen: str) -> None:
    for name in ("PUMASI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == chosen


def test_the_same_error_reads_in_the_reader_s_language() -> None:
    error = JobNotFound(id="0193")
    set_language("en")
    assert str(error) == "There is no job '0193'; `pumasi jobs` lists those that are kept."
    set_language("ko")
    assert str(error) == "작업 '0193'이(가) 없습니다. 보관 중인 작업은 `pumasi jobs`로 볼 수 있습니다."
    assert render("it is due in {duration}", {"duration": "5s"}, lang="en") == "it is due in 5s"


def test_a_text_that_nobody_knows_is_shown_as_it_is() -> None:
    assert gettext("no such text", lang="ko") == "no such text"
    assert gettext("") == ""
    assert render("{a} and {b}", {"a": 1}) == "{a} and {b}"


def test_the_catalogues_are_where_an_installed_package_has_them() -> None:
    folder = Path(locale.__file__).parent
    for name in ("en", "ko"):
        assert (folder / name / "LC_MESSAGES" / "pumasi.mo").is_file()
