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
from pumasi.errors import Invalid

RV = TypeVar("RV")
Row = tuple[Any, ...]

#: the oldest server that can do what is asked of it: plan_cache_mode, hash functions of 64 bits
OLDEST = 120000


class Connection(psycopg.AsyncConnection[Row]):
    """As the driver's, but no wait is longer than the deadline, and one that is given up closes the connection."""

    async def wait(self, gen: PQGen[RV], interval: float = DEADLINE, timeout: float | None = None) -> RV:
        """What the generator comes to. Raises: TimeoutError."""
        try:
            async with asyncio.timeout(DEADLINE if timeout is None else timeout):
                return await waiting.wait_async(gen, self.pgconn.socket, interval=DEADLINE)
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
    max_connections: int


async def connected(target: Target) -> Connection:
    """A connection, in autocommit. Raises: Invalid, Unavailable."""
    try:
        return await _connected(target, limits=True)
    except psycopg.OperationalError as error:
        # a pooler between takes no options; then only our own deadlines hold
        if "startup parameter" not in str(error):
            raise gate.refused(error, target) from error
    try:
        return await _connected(target, limits=False)
    except psycopg.OperationalError as error:
        raise gate.refused(error, target) from error


async def _connected(target: Target, *, limits: bool) -> Connection:
    parameters: dict[str, Any] = target.connection(limits=limits)
    try:
        # several addresses are tried one after the other, each for its own time
        async with asyncio.timeout(3 * max(CONNECT, int(parameters["connect_timeout"] or 0))):
            return await Connection.connect(autocommit=True, prepare_threshold=None, **parameters)
    except TimeoutError as error:
        raise psycopg.OperationalError("connection timeout expired") from error
    except (ValueError, psycopg.ProgrammingError, psycopg.InterfaceError) as error:
        text = "this PostgreSQL URL cannot be read; write postgresql://USER:PASSWORD@HOST/DATABASE"
        raise Invalid(text) from error


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
    return said
