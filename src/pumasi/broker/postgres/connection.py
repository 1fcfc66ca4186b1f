"""A connection whose every wait has an end.

A server that is frozen, or behind a link that swallows everything, never says that it is gone. So each wait has a
deadline here, and a connection whose answer is not awaited to its end is closed: what would come on it later belongs to
nobody. libpq's own timeouts (`target`) notice hosts that are gone while nobody waits.
"""

import asyncio
from typing import Any, TypeVar

import psycopg
from msgspec import Struct
from psycopg import waiting
from psycopg.abc import PQGen

from pumasi.broker.postgres import gate
from pumasi.broker.postgres.target import CONNECT, DEADLINE, Target
from pumasi.errors import Error, Invalid

RV = TypeVar("RV")
Row = tuple[Any, ...]

#: the oldest server that can do what is asked of it: plan_cache_mode, hash functions of 64 bits
OLDEST = 120000


class Connection(psycopg.AsyncConnection[Row]):
    """As the driver's, but no wait is longer than the deadline, and one that is given up closes the connection."""

    #: seconds after which an answer is not expected any more
    deadline = DEADLINE

    async def wait(self, gen: PQGen[RV], interval: float = DEADLINE, timeout: float | None = None) -> RV:
        """What the generator comes to. Raises: TimeoutError."""
        try:
            async with asyncio.timeout(self.deadline if timeout is None else timeout):
                return await waiting.wait_async(gen, self.pgconn.socket, interval=self.deadline)
        except (asyncio.CancelledError, TimeoutError):
            self.pgconn.finish()
            raise


class Hello(Struct, frozen=True):
    """What a server says of itself."""

    #: Unix seconds: when it began, and now
    started: float
    now: float
    read_only: bool
    version: int
    encoding: str
    isolation: str
    #: whether it writes to the disk, and what it waits for before it says that something is done
    fsync: bool
    synchronous_commit: str


async def connected(target: Target) -> Connection:
    """A connection, in autocommit. Raises: Invalid, Unavailable."""
    try:
        return await _connected(target, session=True)
    except psycopg.OperationalError as error:
        # a pooler between takes no options; then only our own deadlines hold
        if "startup parameter" not in str(error):
            raise gate.refused(error, target) from error
    try:
        return await _connected(target, session=False)
    except psycopg.OperationalError as error:
        raise gate.refused(error, target) from error


async def _connected(target: Target, *, session: bool) -> Connection:
    parameters: dict[str, Any] = target.connection(session=session)
    try:
        # several addresses are tried one after the other, each for its own time
        async with asyncio.timeout(3 * max(CONNECT, int(parameters["connect_timeout"] or 0))):
            return await Connection.connect(autocommit=True, prepare_threshold=None, **parameters)
    except TimeoutError as error:
        raise psycopg.OperationalError("connection timeout expired") from error
    except (ValueError, psycopg.ProgrammingError, psycopg.InterfaceError):
        text = "this PostgreSQL URL cannot be read; write postgresql://USER:PASSWORD@HOST/DATABASE"
        raise Invalid(text) from None


async def greet(connection: Connection, hello: str, target: Target) -> Hello:
    """Ask a server about itself. Raises: Invalid, for one that cannot be used."""
    cursor = await connection.execute(hello.encode())
    row = await cursor.fetchone()
    assert row is not None
    said = Hello(*row)
    if said.version < OLDEST:
        text = "PostgreSQL at {place} is version {version}; Pumasi needs 12 or newer"
        raise Invalid(text, place=target.name, version=said.version // 10000)
    if said.encoding != "UTF8":
        text = "the database at {place} has the encoding {encoding}; Pumasi needs UTF8: createdb -E UTF8 -T template0"
        raise Invalid(text, place=target.name, encoding=said.encoding)
    if said.isolation != "read committed":
        text = (
            "transactions at {place} are {isolation}; Pumasi needs read committed, and a pooler lets nobody ask for "
            "it: ALTER ROLE {user} SET default_transaction_isolation = 'read committed'"
        )
        user = target.parameters.get("user", "USER")
        raise Invalid(text, place=target.name, isolation=said.isolation, user=user)
    return said


def concerns(said: Hello, target: Target) -> list[Error]:
    """What weakens a promise on such a server, and what to do about it."""
    if not said.fsync:
        text = (
            "PostgreSQL at {place} does not wait for its disk (fsync or full_page_writes is off): when its host fails, "
            "all jobs may be lost; turn both on"
        )
        return [Invalid(text, place=target.name)]
    if said.synchronous_commit == "off":
        text = (
            "PostgreSQL at {place} says that a job is kept before it is (synchronous_commit is off): when it fails, "
            "the last ones may be lost; run: ALTER DATABASE {database} SET synchronous_commit = on"
        )
        given = target.parameters
        return [Invalid(text, place=target.name, database=given.get("dbname") or given.get("user", "DATABASE"))]
    return []
