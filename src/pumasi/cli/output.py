"""What commands print: JSON for programs, tables for people; plain columns when nobody looks.

Nothing of a script's reaches a terminal raw: every cell goes through `printable`, and rich is given text, never markup.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pumasi.locale import gettext as _
from pumasi.terminal import printable
from pumasi.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: characters of an id that are always shown: its time to the 65 µs
SHORTEST_ID = 13
_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "pending": "dim"}


def write(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_json(value: Any) -> None:
    """A value as JSON on standard output: one line, or indented on a terminal."""
    if sys.stdout.isatty():
        write(printable(json.dumps(value, ensure_ascii=False, indent=2)))
    else:
        write(json.dumps(value, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """Rows under headings; columns with an index in `right` are aligned to the right. `None` is an empty cell."""
    cells = [["" if cell is None else printable(str(cell), lines=False) for cell in row] for row in rows]
    if sys.stdout.isatty():
        console().print(rich_table(headings, cells, right=right))
    else:
        _print_plain([list(headings), *cells], right)


def rich_table(headings: Sequence[str], cells: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> "Table":
    """A table for a terminal: printable text, and a known state has its colour."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        made.add_column(Text(heading), justify="right" if index in right else "left", overflow="fold")
    for row in cells:
        made.add_row(*[Text(cell, style=_STYLES.get(cell, "")) for cell in row])
    return made


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one pair a line; a value of several lines is indented. Empty ones are left out."""
    known = [(name, printable(str(value))) for name, value in facts if value not in (None, "")]
    wide = max((width(name) for name, _value in known), default=0)
    bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("", "")
    for name, value in known:
        first, *rest = value.splitlines() or [""]
        write(f"{bold}{name}{plain}{' ' * (wide - width(name))}  {first}")
        for line in rest:
            write(" " * (wide + 2) + line)


def console() -> "Console":
    """Standard output, a terminal, for rich."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def width(text: str) -> int:
    """Columns that a text takes: Korean letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _print_plain(rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    widths = [max(width(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [
            " " * (wide - width(cell)) + cell if index in right else cell + " " * (wide - width(cell))
            for index, (cell, wide) in enumerate(zip(row, widths, strict=True))
        ]
        write("  ".join(padded).rstrip())


def shortened(ids: Sequence[str]) -> dict[str, str]:
    """For each id the shortest beginning, of 13 characters at least, that no other of them has."""
    ordered = sorted(set(ids))
    short = {}
    for index, id in enumerate(ordered):
        near = [other for other in (ordered[index - 1] if index else "", *ordered[index + 1 : index + 2]) if other]
        common = max((_common(id, other) for other in near), default=0)
        short[id] = id[: max(SHORTEST_ID, common + 1)]
    return short


def ago(then: float | None, now: float) -> str | None:
    """How long ago, or in how long, in words."""
    if not then:
        return None
    if then > now:
        return _("in {duration}").format(duration=format_duration(then - now))
    return _("{duration} ago").format(duration=format_duration(now - then))


def clock(time: float | None) -> str | None:
    """A time of this machine's time zone."""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S %z") if time else None


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
