"""Reading our Markdown, for tests: headings, links, code."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_VARIABLE = re.compile(r"[A-Z_]+=.*")


def blocks(page: Path, *kinds: str) -> list[str]:
    """The code blocks of some kinds."""
    return [body for kind, body in _FENCE.findall(page.read_text("utf-8")) if kind in kinds]


def commands(page: Path) -> list[list[str]]:
    """The words of each command a page shows, in `bash` blocks and behind `$` in `console` blocks."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    lines += [
        line.removeprefix("$ ") for block in blocks(page, "console") for line in block.splitlines() if line[:2] == "$ "
    ]
    return [words for line in lines for words in _split(line)]


def _split(line: str) -> list[list[str]]:
    """The commands of a line, without variables before them; what is no shell by itself is left out."""
    found = []
    for part in re.split(r"&&|\||;", line):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue
        while words and _VARIABLE.fullmatch(words[0]):
            words = words[1:]
        if words and words[-1] == "&":
            words = words[:-1]
        found += [words] if words else []
    return found


def links(page: Path) -> list[str]:
    """Where a page's links lead, those to other sites left out."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [target for target in _LINK.findall(text) if "://" not in target]


def sections(text: str) -> list[str]:
    """The anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain]
