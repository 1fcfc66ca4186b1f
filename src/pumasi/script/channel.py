"""The way from a script to its worker: one JSON object a line on the pipe that the sandbox left open.

A line is at most 4096 bytes, what a pipe takes in one piece, so that lines of threads and of forked children never mix;
a longer log text becomes several. Whatever goes wrong with the pipe, the script goes on as if there were none.
"""

import math
import os
import stat
import sys
from _thread import allocate_lock  # `threading` would load ten times as much

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DESCRIPTOR = 4
_LINE = 4096  # PIPE_BUF of Linux
_TEXT = 320  # characters that fit into a line even when JSON needs twelve bytes for each
_LEVELS = ("debug", "info", "warning", "error")

_lock = allocate_lock()


def _identity() -> tuple[int, int] | None:
    """Which pipe the sandbox gave us; None outside of Pumasi."""
    if "PUMASI_JOB_ID" not in os.environ:
        return None
    try:
        status = os.fstat(_DESCRIPTOR)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISFIFO(status.st_mode) else None


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody took the folder away
        return os.sep


# Taken when the module is loaded: a descriptor 4 that the script opens later, after ours was closed, is not ours.
_pipe = _identity()
_folder = _here()


def _renew() -> None:
    """In a forked child the thread that held the lock is gone."""
    global _lock
    _lock = allocate_lock()


os.register_at_fork(after_in_child=_renew)


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Say how far the script is: `done` of `total` (None: nobody knows), and what it is at.

    Raises:
        ValueError: one of them is no finite number.
    """
    values = (_number(done), None if total is None else _number(total), _plain(str(note))[:_TEXT])
    if not _send({"progress": values}):
        of = "" if values[1] is None else f"/{values[1]}"
        _print(f"[{values[0]}{of}] {values[2]}".rstrip())


def log(*parts: object, level: str = "info") -> None:
    """Write a line to the job's log: the parts as `print` would, at `debug`, `info`, `warning` or `error`.

    Raises:
        ValueError: there is no such level.
    """
    if level not in _LEVELS:
        raise ValueError(f"level is one of {', '.join(_LEVELS)}, not {level!r}")
    text = _plain(" ".join(map(str, parts)))
    pieces = [text[at : at + _TEXT] for at in range(0, len(text), _TEXT)] or [""]
    for at, piece in enumerate(pieces):
        if not _send({"log": piece, "level": level}):
            _print(f"{level}: {''.join(pieces[at:])}" if level != "info" else "".join(pieces[at:]))
            return


def artifact(path: str | os.PathLike[str]) -> None:
    """Have a file of the script's folder kept after the run; outside of Pumasi it is only checked.

    Raises:
        FileNotFoundError: it is not there, or is no regular file.
        ValueError: it is not in the script's folder, or its path is too long to be told.
    """
    full = os.path.join(_folder, os.path.abspath(os.fspath(path)))
    relative = os.path.relpath(full, _folder)
    if relative.split(os.sep)[0] == os.pardir:
        raise ValueError(f"an artifact is a file in the script's folder; {os.fspath(path)!r} is not")
    if not os.path.isfile(full):
        raise FileNotFoundError(f"no file {os.fspath(path)!r} to keep")
    if _plain(relative) != relative or len(_line({"artifact": relative})) > _LINE:
        raise ValueError(f"the path {relative!r:.80} is too long, or not UTF-8")
    _send({"artifact": relative})


def _send(message: "dict[str, Any]") -> bool:
    """Write one line to the pipe; False when there is none (any more)."""
    global _pipe
    if _pipe is None:
        return False
    line = _line(message)
    with _lock:
        if _pipe is not None and not (_pipe == _identity() and _write(line)):
            _pipe = None
        return _pipe is not None


def _line(message: "dict[str, Any]") -> bytes:
    import json

    return json.dumps(message).encode() + b"\n"


def _write(line: bytes) -> bool:
    while True:
        try:
            os.write(_DESCRIPTOR, line)  # whole or not at all: it is no longer than PIPE_BUF
        except BlockingIOError:  # somebody made the pipe non-blocking; wait as if it were not
            import select

            select.select([], [_DESCRIPTOR], [])
        except OSError:
            return False
        else:
            return True


def _number(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"progress needs finite numbers, not {value!r:.40}")
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _print(text: str) -> None:
    # Like the pipe: a closed or full standard error must not bring the script down.
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


def _plain(text: str) -> str:
    """The text without lone surrogates, which JSON would carry and nobody could print."""
    return text.encode("utf-8", "replace").decode()
