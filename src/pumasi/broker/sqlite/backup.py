"""Copies of the database file while others work on it. Blocking; call it in a thread.

A backup reads under one snapshot: it is the database of one moment, whatever is written meanwhile. It comes into being
beside its place, is looked through, and is put there in one step.

To restore is to write all pages of a backup into the live database, as one transaction: who has the file open sees the
one state, then the other. Runs of before know tokens that hold no more: their workers are told to stop them. What ran
when the backup was made is run again once its lease is over. Positions in the order of changes go on from where they
were, so that whoever follows it hears of what comes.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

import apsw

from pumasi.broker.sqlite.database import APPLICATION, Database
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
    if os.path.realpath(target) in {f"{os.path.realpath(path)}{end}" for end in ("", "-wal", "-shm")}:
        raise Invalid("{path} is the database itself", path=target)
    if not replace and os.path.lexists(target):
        raise Invalid("{path} is there already; name another file, or say --replace", path=target)
    with _gate(path), contextlib.closing(_opened(path)) as source, _made(target) as part:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # the snapshot is taken by the first read
        with contextlib.closing(apsw.Connection(part)) as copy:
            _pour(source, copy, told)
            _look_through(copy, part)
        source.execute("ROLLBACK")


def restore(path: str, backup: str, told: Told) -> None:
    """Put what a backup holds in place of the database at `path`, whoever has that open. What was there is kept beside
    it, with `.before-restore` behind its name.

    Raises: Invalid (it is no backup of ours, or of a newer Pumasi), Unavailable.
    """
    if not os.path.isfile(backup):
        raise Invalid("there is no file {path}", path=backup)
    if os.path.exists(path) and os.path.samefile(path, backup):
        raise Invalid("{path} is the database itself", path=backup)
    if os.path.exists(path):
        back_up(path, f"{path}{BEFORE}", lambda *_: None, replace=True)
    with _gate(backup), _renewed(backup, f"{path}.restored-{os.getpid()}") as source, _gate(path):
        live = Database(path)
        try:
            position = live.value("position")
            _pour(source, live.connection, told)
            live.run("next_change", n=max(0, position - live.value("position"))).fetchall()
        finally:
            live.close()


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
    part = f"{target}.part-{os.getpid()}"
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR))
    except OSError as error:
        raise Invalid("{path} cannot be written: {detail}", path=target, detail=error.strerror) from error
    try:
        yield part
        _synced(part)
        os.replace(part, target)
        _synced(os.path.dirname(os.path.abspath(target)))
    finally:
        for name in (part, f"{part}-wal", f"{part}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


@contextlib.contextmanager
def _renewed(backup: str, path: str) -> Iterator[apsw.Connection]:
    """The backup's content, brought up to date in a file of its own."""
    try:
        with contextlib.closing(_opened(backup)) as source, contextlib.closing(apsw.Connection(path)) as copy:
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
            _pour(source, copy, lambda *_: None)
            _look_through(copy, backup)
        renewed = Database(path)
        try:
            yield renewed.connection
        finally:
            renewed.close()
    finally:
        for name in (path, f"{path}-wal", f"{path}-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)


def _pour(source: apsw.Connection, target: apsw.Connection, told: Told) -> None:
    with target.backup("main", source, "main") as pouring:
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
