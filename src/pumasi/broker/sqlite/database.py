"""The file: opening it, its settings and its schema, and queries by name."""

import os
import re
import stat
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import apsw

from pumasi.broker.sqlite.gate import BUSY, translated
from pumasi.errors import Invalid, Unavailable

#: marks a file as ours: "PUMA"
APPLICATION = 0x50554D41
#: a database left without a clean end is checked when it is no larger than this many bytes: it costs little then
CHECKED_SIZE = 32 * 1024 * 1024

Row = tuple[Any, ...]


def _sections(file: str, heading: str) -> dict[str, str]:
    """The parts of an SQL file, by the name in the comment that heads each."""
    text = (files(__package__) / file).read_text(encoding="utf-8")
    _, *parts = re.split(f"^-- {heading}$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))


QUERIES = _sections("queries.sql", r"([a-z_]+): .*")
MIGRATIONS = tuple(_sections("schema.sql", r"version: (\d+)").values())


class Database:
    """A connection to the file; belongs to the thread that made it."""

    def __init__(self, path: str) -> None:
        """Open the file, making it and its folder where there is none. Raises: Invalid, Unavailable."""
        self.path = path
        try:
            self.connection = _connected(path)
            try:
                _prepare(self.connection, path)
            except BaseException:
                self.connection.close(True)
                raise
        except Exception as error:
            known = translated(error, path, running=False)
            if known is error:
                raise
            raise known from error
        self._file = _identity(path)

    def close(self) -> None:
        """Let go of the file; the last process to do so leaves it in one piece."""
        self.connection.close(True)

    def moved(self) -> bool:
        """Whether the file was removed or replaced: what is written now would be lost."""
        return _identity(self.path) != self._file

    def run(self, name: str, /, **values: Any) -> apsw.Cursor:
        """Begin the query of that name; its rows come as they are asked for."""
        return self.connection.execute(QUERIES[name], values)

    def all(self, name: str, /, **values: Any) -> list[Row]:
        """All rows of the query of that name."""
        return self.connection.execute(QUERIES[name], values).fetchall()

    def one(self, name: str, /, **values: Any) -> Row | None:
        """The first row, or None."""
        cursor = self.connection.execute(QUERIES[name], values)
        row = cursor.fetchone()
        cursor.close()
        return row

    def value(self, name: str, /, **values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(name, **values)
        return None if row is None else row[0]

    def each(self, name: str, /, rows: Sequence[dict[str, Any]]) -> list[Row]:
        """Run the query once for each of `rows`; what they return, one after the other."""
        return self.connection.executemany(QUERIES[name], rows).fetchall()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connected(path: str) -> apsw.Connection:
    if os.path.isdir(path):
        raise Invalid("{path} is a folder; name a file in it: {path}/pumasi.db", path=path)
    fresh = make_folder(path)
    connection = apsw.Connection(path, statementcachesize=200)
    if fresh:
        # parameters may be private; -wal and -shm take after the file
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    connection.set_busy_timeout(int(BUSY * 1000))
    # one plan for each query: else SQLite, as built, prepares some anew whenever a value changes
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    return connection


def make_folder(path: str) -> bool:
    """Make the folder of the file, that one level and no more; whether the file is still to be made.

    A longer way that is missing is a typing mistake, or a disk that is not there yet.
    """
    folder = os.path.dirname(path)
    try:
        if not os.path.isdir(os.path.dirname(folder)):
            text = "the folder {path} does not exist; make it, or mount its disk, or name another file"
            raise Unavailable(text, path=folder)
        os.makedirs(folder, exist_ok=True)
        return not os.path.lexists(path)
    except (OSError, ValueError) as error:
        raise Invalid("the folder {path} cannot be made: {detail}", path=folder, detail=str(error)) from error


def _prepare(connection: apsw.Connection, path: str) -> None:
    unclean = _unclean(path)
    version = _version(connection, path)
    if connection.readonly("main"):
        raise apsw.ReadOnlyError
    _write_ahead(connection, path)
    for setting in ("synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY", "cache_size = -16384"):
        connection.pragma(*setting.split(" = "))
    connection.pragma("mmap_size", 0)
    connection.pragma("journal_size_limit", 64 * 1024 * 1024)
    if unclean:
        _check(connection)
    if version < len(MIGRATIONS):
        _migrate(connection, path)


def _unclean(path: str) -> bool:
    """Whether the last to use the file may not have closed it, and a look through it is cheap."""
    try:
        return os.stat(f"{path}-wal").st_size > 0 and os.stat(path).st_size <= CHECKED_SIZE
    except OSError:
        return False


def _check(connection: apsw.Connection) -> None:
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != ("ok",):
        raise apsw.CorruptError(str(finding and finding[0]))


def _version(connection: apsw.Connection, path: str) -> int:
    """The version of the schema there is. Raises: Invalid, for a database of another program, or of a newer Pumasi."""
    version = int(connection.pragma("user_version"))
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables != (0,) and connection.pragma("application_id") != APPLICATION:
        raise Invalid("{path} is a database of another program; name another file", path=path)
    if version > len(MIGRATIONS):
        raise Invalid(
            "{path} was written by a newer Pumasi (schema {version}, this one knows {known}); update Pumasi",
            path=path,
            version=version,
            known=len(MIGRATIONS),
        )
    return version


def _write_ahead(connection: apsw.Connection, path: str) -> None:
    """Turn the write-ahead log on. Another process may be doing just that: this step alone knows no busy timeout."""
    until = time.monotonic() + BUSY
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
            break
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise Invalid("{path} lies where SQLite cannot work safely (a network folder?); name a local file", path=path)


def _migrate(connection: apsw.Connection, path: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)
        for step in MIGRATIONS[version:]:
            connection.execute(step).fetchall()
        connection.pragma("application_id", APPLICATION)
        connection.pragma("user_version", len(MIGRATIONS))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
