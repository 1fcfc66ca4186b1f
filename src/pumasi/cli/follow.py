"""A job's log as it comes, on standard error; on a terminal a line below it says how far the job is."""

import json
import shutil
import sys
import threading
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self, TextIO

from pumasi.cli.output import width
from pumasi.core.job import Record
from pumasi.terminal import printable

_BAR = 24
_CLEAR = "\r\x1b[2K"


class LogView:
    """Shows records. `lines` counts those shown; the progress line goes when the view is closed."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._terminal = self._file.isatty()
        self._progress = ""
        self._shown = False
        self._fresh = True
        self._lock = threading.Lock()
        self.lines = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hide()
        if not self._fresh and self._terminal:
            self._file.write("\n")
        self._file.flush()

    def show(self, record: Record) -> None:
        """A record; progress moves the bar, everything else is printed above it."""
        if record.stream == "progress":
            self._progress = progress_bar(record.data) if self._terminal else ""
            text = ""
        else:
            text = printable(record.data)
        with self._lock:
            self._hide()
            self._file.write(text)
            self.lines += text.count("\n")
            self._fresh = text.endswith("\n") if text else self._fresh
            if self._progress and self._fresh:
                self._file.write(self._progress)
                self._shown = True
            self._file.flush()

    def note(self, text: str) -> None:
        """A line of our own, in place of the progress line."""
        with self._lock:
            self._hide()
            self._file.write(f"{text}\n" if self._fresh else f"\n{text}\n")
            self._file.flush()
            self._fresh = True

    def _hide(self) -> None:
        if self._shown:
            self._file.write(_CLEAR)
            self._shown = False


async def show_log(records: AsyncIterator[Record]) -> int:
    """Show all records as they come; returns how many lines they were."""
    import asyncio

    with LogView() as view:
        async for record in records:
            await asyncio.to_thread(view.show, record)
        return view.lines


def progress_bar(data: bytes, columns: int | None = None) -> str:
    """One line for a progress record (`[done, total|null, note]`), no wider than `columns` (default: the terminal's);
    "" for a broken one."""
    try:
        done, total, note = json.loads(data)
        share = min(1.0, max(0.0, done / total)) if total else None
    except (ValueError, TypeError, ZeroDivisionError):
        return ""
    text = f"{done:g}/{total:g}" if total else f"{done:g}"
    if share is not None:
        full = round(share * _BAR)
        text = f"{'━' * full}{'╌' * (_BAR - full)} {share:4.0%} {text}"
    return _cut(
        f"{text} {printable(str(note), lines=False)}".rstrip(), columns or shutil.get_terminal_size().columns - 1
    )


def _cut(text: str, columns: int) -> str:
    while width(text) > columns:
        text = text[: -max(1, (width(text) - columns) // 2)]
    return text
