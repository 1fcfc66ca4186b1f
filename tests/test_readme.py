"""The two README files: the same structure, and nothing in them that does not exist."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.pages import ROOT, commands, links, sections

READMES = [ROOT / "README.md", ROOT / "README.ko.md"]


def test_both_have_the_same_structure() -> None:
    one, other = (_structure(path.read_text("utf-8")) for path in READMES)
    assert one == other


def test_both_show_the_same_commands() -> None:
    one, other = ([words for words in commands(path) if words[0] != "export"] for path in READMES)
    assert one
    assert one == other


def test_both_link_to_the_same_pages() -> None:
    one, other = ({link.partition("#")[0] for link in links(path)} - {"README.md", "README.ko.md"} for path in READMES)
    assert one == other


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.name)
def test_the_picture_is_one(path: Path) -> None:
    assert "docs/images/demo.svg" in links(path)
    picture = ElementTree.parse(ROOT / "docs" / "images" / "demo.svg")
    text = "".join(picture.getroot().itertext()).replace("\u00a0", " ")
    assert "make demo" in text
    assert "completed" in text


def _structure(text: str) -> list[str]:
    """Levels of headings, lists and code, in order."""
    return [
        re.sub(r"[^#`|>-].*", "", line).strip() for line in text.splitlines() if re.match(r"#+ |```|- |> |\|---", line)
    ] + [str(len(sections(text)))]
