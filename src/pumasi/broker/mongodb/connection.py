"""The clients of one store, one an event loop, and the server's clock.

A client belongs to the loop, and to the process, that made it; each is made at its first use. The driver asks every
server for its state in the background (`hello`), and the answer says what time it is there: so the offset of its clock
is known without a question of ours. From the same answers it is known when the server, or its replica set's primary, is
another than before: then nobody could extend a lease for a while, and lapsed ones are left to their owners.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from pymongo import AsyncMongoClient, monitoring
from pymongo.errors import PyMongoError

from pumasi.broker.mongodb.address import Address
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.gate import gate
from pumasi.broker.mongodb.times import CALL, HELLO, Clock, seconds
from pumasi.errors import Unavailable

#: seconds for which the time of an answer is exact enough to take a lease from its owner by
_FRESH = 2.0
#: seconds that closing the client of another event loop may take
_CLOSING = 5.0


class _Listener(monitoring.ServerHeartbeatListener):
    """Hears what servers say of themselves."""

    def __init__(self, heard: "_Heard") -> None:
        self._heard = heard

    def started(self, event: monitoring.ServerHeartbeatStartedEvent) -> None:
        """Nothing is known yet."""

    def succeeded(self, event: monitoring.ServerHeartbeatSucceededEvent) -> None:
        """An answer."""
        self._heard.answer(event.reply.document)

    def failed(self, event: monitoring.ServerHeartbeatFailedEvent) -> None:
        """No answer: who answers next may have begun anew."""
        self._heard.silence()


class _Heard:
    """What is known of the server from its answers to `hello`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silences = 0
        self._met: tuple[object, ...] | None = None
        self.at = float("-inf")

    def answer(self, hello: Mapping[str, Any]) -> None:
        """The time there, and whether it is the server it was."""
        if not (hello.get("isWritablePrimary") or hello.get("ismaster")):
            return
        now = seconds(hello["localTime"])
        process = (hello.get("topologyVersion") or {}).get("processId")
        met = (process, hello.get("electionId"), self._silences)
        if self._met is None:
            # a server's process id is made when it begins, and holds that time
            age = float("inf") if process is None else now - process.generation_time.timestamp()
            self._clock.met(met, age)
        elif met != self._met:
            self._clock.met(met, 0.0)
        self._met = met
        self._clock.heard(now)
        self.at = time.monotonic()

    def silence(self) -> None:
        """It did not answer."""
        self._silences += 1


class Connection:
    """Hands out the database of the running event loop."""

    def __init__(self, address: Address, clock: Clock | None = None) -> None:
        self.place = address.place
        self.clock = clock or Clock()
        self._address = address
        self._heard = _Heard(self.clock)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._wanted = False
        self._open: dict[asyncio.AbstractEventLoop, Database] = {}

    async def open(self) -> Database:
        """Connect, from this loop; other loops may follow. Raises: Invalid, Unavailable."""
        self._wanted = True
        return await self.here()

    async def here(self) -> Database:
        """The database, for this loop. Raises: Invalid, Unavailable."""
        if not self._wanted:
            raise Unavailable("the MongoDB broker at {place} is not open", place=self.place)
        loop = asyncio.get_running_loop()
        database = self._known().get(loop)
        return database if database is not None else await self._connect(loop)

    async def sync(self, database: Database) -> float:
        """The server's time, asked for unless it has just been heard."""
        if self.clock.turned is None and time.monotonic() - self._heard.at > _FRESH:
            self._heard.answer(await database.client.admin.command("hello"))
        return self.clock.now()

    async def close(self) -> None:
        """Close the clients of all loops that still run; safe to repeat."""
        self._wanted = False
        with self._lock:
            known, self._open = self._known(), {}
        here = asyncio.get_running_loop()
        for loop, database in known.items():
            if loop is here:
                await database.close()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(database.close(), loop)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(closing), _CLOSING)

    def _known(self) -> dict[asyncio.AbstractEventLoop, Database]:
        if os.getpid() != self._pid:  # connections do not cross a fork
            self._pid, self._open = os.getpid(), {}
        return self._open

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Database:
        with gate(self.place):
            client: AsyncMongoClient[Document] = AsyncMongoClient(
                self._address.uri,
                appname="pumasi",
                tz_aware=True,
                timeoutMS=int(CALL * 1000),
                connectTimeoutMS=int(CALL * 1000),
                serverSelectionTimeoutMS=int(CALL * 1000),
                heartbeatFrequencyMS=int(HELLO * 1000),
                event_listeners=[_Listener(self._heard)],
            )
            try:
                hello = await client.admin.command("hello")
            except BaseException:
                with contextlib.suppress(PyMongoError):
                    await client.close()
                raise
        self._heard.answer(hello)
        replicated = "setName" in hello or hello.get("msg") == "isdbgrid"
        name, classic = self._address.database, self._address.collection
        database = Database(client, name, classic, self.clock, replicated=replicated)
        with self._lock:
            known = self._open.setdefault(loop, database)
        if known is not database:  # another task of this loop was faster
            await database.close()
        return known
