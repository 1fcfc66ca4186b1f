"""Copies of the database file while others work on it. Blocking; call it in a thread.

A backup reads under one snapshot: it is the database of one moment, whatever is written meanwhile. It comes into being
beside its place, is looked through, and is put there in one step.

To restore is to write all pages of a backup into the live database, as one transaction: who has the file open sees the
one state, then the other. What was there is copied while that transaction holds the lock, so that all that was ever
accepted is in the one file or in the other. Runs of before know tokens that hold no more: their workers are told to
stop them. What ran when the backup was made is run again once its lease is over. Positions in the order of changes go
on from where they were, so that whoever follows it hears of what comes.
"""

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator

import apsw

from pumasi.broker.sqlite.database import APPLICATION, QUERIES, Database, make_folder
from pumasi.broker.sqlite.gate import BUSY, translated
from pumasi.errors import Invalid

#: pages that are copied between two looks at how far it is
_PAGES = 1000
#: what is kept of the state before a restore
BEFORE = ".before-restore"

Told = Callable[[int, int], None]


def back_up(path: str, target: str, told: Told, *, replace: bool) -> None:
    """Write the database at `path` as it is now into the file `target`; `told` hears (pages done, pages in all).

    Raises: Invalid (there is no such database; the target is there, or is that database), Unavailable.
    """
    if os.path.realpath(target) in {f"{os.path.realpath(path)}{end}" for end in ("", "-wal", "-shm", "-journal")}:
        raise Invalid("{path} is the database itself", path=target)
    if not replace and os.path.lexists(target):
        raise Invalid("{path} is there already; name another file, or say --replace", path=target)
    with _made(target) as part:
        _take(path, part, target, told)
        with _gate(path), contextlib.closing(apsw.Connection(part)) as copy:
            _look_through(copy, path)


def restore(path: str, backup: str, told: Told) -> str | None:
    """Put what a backup holds in place of the database at `path`, whoever has that open. Where what was there is kept:
    beside it, with `.before-restore` behind its name, and a number when that is taken; None when nothing was there.

    Raises: Invalid (it is no backup of ours, or of a newer Pumasi), Unavailable.
    """
    if not os.path.isfile(backup):
        raise Invalid("there is no file {path}", path=backup)
    if os.path.exists(path) and os.path.samefile(path, backup):
        raise Invalid("{path} is the database itself", path=backup)
    before = _free(f"{path}{BEFORE}") if os.path.exists(path) else None
    with (
        _gate(backup), _renewed(backup, path) as source,
        _gate(path), contextlib.closing(Database(path)) as live,
        live.connection.backup("main", source.connection, "main") as pouring,
    ):  # fmt: skip
        pouring.step(0)  # nobody else writes from here on
        if before is not None:
            with _made(before) as part:
                _take(path, part, before, lambda *_: None)
        _go_on_from(source, path)
        _finish(pouring, told)
    return before


def _take(path: str, part: str, target: str, told: Told) -> None:
    """The state of this moment into the file `part`, which is to be `target`; one file, without companions."""
    with _gate(path), contextlib.closing(_opened(path)) as source:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # the snapshot is taken by the first read
        with _gate(target), contextlib.closing(apsw.Connection(part)) as copy:
            _pour(source, copy, told)
            copy.pragma("journal_mode", "delete")


def _go_on_from(source: Database, path: str) -> None:
    """Let the order of changes in `source` go on from where it stands at `path`."""
    with contextlib.closing(_opened(path)) as reader:
        ((position,),) = reader.execute(QUERIES["position"]).fetchall()
    source.value("next_change", n=max(0, position - source.value("position")))


@contextlib.contextmanager
def _gate(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        known = translated(error, path, running=False)
        if known is error:
            raise
        raise known from error


def _opened(path: str) -> apsw.Connection:
    if not os.path.isfile(path):
        raise Invalid("there is no database {path}", path=path)
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(int(BUSY * 1000))
    if connection.pragma("application_id") != APPLICATION:
        connection.close()
        raise Invalid("{path} is a database of another program; name another file", path=path)
    return connection


@contextlib.contextmanager
def _made(target: str) -> Iterator[str]:
    """A file that takes the place of the target once it is whole and on the disk."""
    with _beside(target) as part:
        yield part
        _synced(part)
        os.replace(part, target)
        _synced(os.path.dirname(os.path.abspath(target)))


@contextlib.contextmanager
def _beside(target: str) -> Iterator[str]:
    """A new file beside the target, which nobody else can read; gone afterwards, if it is still there."""
    folder, name = os.path.split(os.path.abspath(target))
    try:
        fd, part = tempfile.mkstemp(prefix=f"{name}.part-", dir=folder)
    except OSError as error:
        raise Invalid("{path} cannot be written: {detail}", path=target, detail=error.strerror) from error
    os.close(fd)
    try:
        yield part
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{part}{end}")


@contextlib.contextmanager
def _renewed(backup: str, path: str) -> Iterator[Database]:
    """The backup's content, brought up to date in a file of its own beside `path`."""
    make_folder(path)
    with _beside(path) as part:
        with contextlib.closing(_opened(backup)) as source, contextlib.closing(apsw.Connection(part)) as copy:
            _pour(source, copy, lambda *_: None)
            _look_through(copy, backup)
        with contextlib.closing(Database(part)) as renewed:
            yield renewed


def _free(path: str) -> str:
    """The path, with a number behind it when there is such a file already."""
    names = itertools.chain([path], (f"{path}.{n}" for n in itertools.count(2)))
    return next(name for name in names if not os.path.lexists(name))


def _pour(source: apsw.Connection, target: apsw.Connection, told: Told) -> None:
    with target.backup("main", source, "main") as pouring:
        _finish(pouring, told)


def _finish(pouring: apsw.Backup, told: Told) -> None:
    while not pouring.done:
        pouring.step(_PAGES)
        told(pouring.page_count - pouring.remaining, pouring.page_count)


def _look_through(copy: apsw.Connection, path: str) -> None:
    finding = copy.execute("PRAGMA quick_check(1)").fetchone()
    if finding != ("ok",):
        raise Invalid("{path} is damaged: {detail}", path=path, detail=str(finding and finding[0]))


def _synced(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
