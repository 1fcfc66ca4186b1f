"""The connections of a process: a few for each event loop, made when they are needed, kept while they are used.

A connection belongs to the loop it was made in and never crosses a fork. After the server has gone away, idle
connections are found dead only when they are used: then all idle ones are dropped, and what was asked is asked once
more on a new connection. Every question of a store is safe to repeat.
"""

import asyncio
import contextlib
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import psycopg

from pumasi.broker.clock import ServerClock
from pumasi.broker.postgres import gate
from pumasi.broker.postgres.connection import Connection, Hello, Row, connected, greet
from pumasi.broker.postgres.queries import Queries
from pumasi.broker.postgres.target import DEADLINE, Target
from pumasi.errors import Unavailable

#: connections of one event loop at most
SIZE = 8
#: seconds after which a connection that nobody needed is closed, at the next occasion
IDLE = 60.0
#: how often what met a deadlock is asked again
AGAIN = 5

#: connections of the parent, after a fork: to close them here would end them there
_inherited: list[object] = []


class _Shelf:
    """The idle connections of one event loop, last used last, and how many more there may be."""

    def __init__(self) -> None:
        self.idle: list[tuple[Connection, float]] = []
        self.room = asyncio.Semaphore(SIZE)

    def take(self) -> Connection | None:
        """The one used last, if there is one; those that nobody has needed for long are closed."""
        stale = time.monotonic() - IDLE
        while self.idle and (self.idle[0][1] < stale or self.idle[0][0].closed):
            _close(self.idle.pop(0)[0])
        return self.idle.pop()[0] if self.idle else None

    def drop(self) -> None:
        """Close those that are idle."""
        while self.idle:
            _close(self.idle.pop()[0])


class Pool:
    """Where statements are handed in, from any thread and event loop of the process."""

    def __init__(self, target: Target, queries: Queries, clock: ServerClock) -> None:
        self.target = target
        self.queries = queries
        #: what the server last said of itself
        self.hello: Hello | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._shelves: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shelf] = WeakKeyDictionary()
        self._process = os.getpid()
        self._open = False

    def open(self) -> None:
        """Let statements in."""
        self._open = True

    def close(self) -> None:
        """Close what is idle, in whatever loop; what is in use is closed when it is put back."""
        self._open = False
        with self._lock:
            shelves = list(self._shelves.values())
        for shelf in shelves:
            shelf.drop()

    async def ask(self, name: str, values: Mapping[str, Any]) -> list[Row]:
        """The rows of the query of that name. Raises: Invalid, Unavailable."""
        return await self.run(self.queries[name], values)

    async def run(self, query: str, values: Mapping[str, Any]) -> list[Row]:
        """The rows of a statement; it is asked again when it met a deadlock. Raises: Invalid, Unavailable."""
        if not self._open:
            raise Unavailable("the broker at {path} is not open", path=self.target.name)
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._run(query, values)
        except (psycopg.Error, TimeoutError, OSError, UnicodeEncodeError) as error:
            if getattr(error, "sqlstate", None) == gate.KEY_IS_HELD:
                raise
            raise gate.translated(error, self.target) from error

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a while, new if need be. Raises: Invalid, Unavailable."""
        shelf = self._shelf()
        async with shelf.room:
            connection = shelf.take() or await self._connect()
            try:
                yield connection
            finally:
                self._put_back(shelf, connection)

    async def _run(self, query: str, values: Mapping[str, Any]) -> list[Row]:
        for again in range(AGAIN):
            try:
                return await self._run_once(query, values)
            except gate.REPEATABLE:
                if again == AGAIN - 1:
                    raise
                await asyncio.sleep(random.random() * 0.02 * 2**again)
        raise AssertionError("unreachable")

    async def _run_once(self, query: str, values: Mapping[str, Any]) -> list[Row]:
        shelf = self._shelf()
        async with shelf.room:
            idle = shelf.take()
            connection = idle or await self._connect()
            try:
                return await _execute(connection, query, values)
            except psycopg.OperationalError:
                if idle is None or not connection.closed:
                    raise
            finally:
                self._put_back(shelf, connection)
            # it had died while it lay idle, and so have the others
            shelf.drop()
            connection = await self._connect()
            try:
                return await _execute(connection, query, values)
            finally:
                self._put_back(shelf, connection)

    async def _connect(self) -> Connection:
        connection = await connected(self.target)
        try:
            self.hello = await greet(connection, self.queries["hello"], self.target)
        except BaseException as error:
            _close(connection)
            if isinstance(error, psycopg.Error | TimeoutError):
                raise gate.translated(error, self.target) from error
            raise
        self._clock.met(self.hello.started, self.hello.now - self.hello.started)
        self._clock.heard(self.hello.now)
        return connection

    def _put_back(self, shelf: _Shelf, connection: Connection) -> None:
        if not self._open or connection.closed or connection.broken:
            _close(connection)
        else:
            shelf.idle.append((connection, time.monotonic()))

    def _shelf(self) -> _Shelf:
        with self._lock:
            if self._process != os.getpid():
                _inherited.append(self._shelves)
                _inherited.extend(self._shelves.values())
                self._shelves, self._process = WeakKeyDictionary(), os.getpid()
            return self._shelves.setdefault(asyncio.get_running_loop(), _Shelf())


def _close(connection: Connection) -> None:
    connection.pgconn.finish()


async def _execute(connection: Connection, query: str, values: Mapping[str, Any]) -> list[Row]:
    cursor = connection.cursor(binary=True)
    try:
        await cursor.execute(query.encode(), values)
    except psycopg.errors.ReadOnlySqlTransaction:
        _close(connection)  # no primary any more: a new connection may find the one there is
        raise
    return await cursor.fetchall() if cursor.description else []
