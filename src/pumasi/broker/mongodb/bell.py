"""A bell that is heard by all who use the same database.

It is one document, with the last few rings and how many there were: `{_id: "bell", n, rings: [JSON of topics, …]}`. To
ring is one update; what is rung in one turn of the loop goes out together. Who has missed more rings than are kept
hears "everything". (A ring is a text because not every server that speaks the protocol pushes a list into a list.)

A process with waiters listens: on a replica set by a change stream, whose next event the server holds back until there
is one; where there is none (a standalone server), or where the server answers at once without one, by looking at the
document, often while it rings and ever more rarely while it does not. A stream that breaks is opened again, and then
everything is rung. A change that a ring tells of can be seen by then: flights are struck off the board first.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

from pymongo import WriteConcern
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from pumasi.broker.bell import Bell, Heard
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.connection import Connection
from pumasi.broker.mongodb.database import Collection, Database
from pumasi.broker.mongodb.together import given_up
from pumasi.errors import Error

#: rings that the document keeps
_KEPT = 64
#: topics of one ring; more of them are everything
_MOST = 64
_EVERYTHING = "*"
#: seconds between two rings of one process, while it rings all the time
_GAP = 0.02
#: seconds between two looks: doubled from the first to the last
_LOOK = 0.02
_LOOK_AT_MOST = 4.0
#: seconds that a server holds back the answer of a stream
_AWAIT = 5.0
#: a stream that answers sooner with nothing does not wait for us
_AT_ONCE = 0.5
#: seconds until a broken stream is opened again: doubled from the first to the last
_AGAIN = 0.1
_AGAIN_AT_MOST = 5.0
_BELL = {"_id": "bell"}


class MongoBell(Bell):
    """Rings through the database. Each process has one, in the loop that opened it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        #: rung but not sent yet
        self._topics: set[str] = set()
        self._wanted = asyncio.Event()
        self._alive = False
        self._heard_up_to: int | None = None

    @property
    def alive(self) -> bool:
        return self._alive

    async def open(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._wanted = asyncio.Event()
            with contextlib.suppress(PyMongoError, Error):
                await self._hear(await self._connection.here())
                self._alive = True
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        if self._loop is None:
            return
        self._loop, self._alive = None, False
        if self._listening is not None:
            await given_up(self._listening)
        if self._sending is not None:
            await asyncio.gather(self._sending, return_exceptions=True)

    def ring(self, *topics: str) -> None:
        self.ring_here(*topics)
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it will ring nobody any more
                loop.call_soon_threadsafe(self._send_soon, topics)

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Heard]:
        with super().listen(*topics) as heard:
            loop = self._loop
            if loop is not None:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._wanted.set)
            yield heard

    # -- sending --------------------------------------------------------------------------------------------------

    def _send_soon(self, topics: tuple[str, ...]) -> None:
        self._topics.update(topics)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while self._topics:
            topics, self._topics = sorted(self._topics), set()
            with contextlib.suppress(PyMongoError, Error):  # a hint that is lost costs time, no more
                await self._ring(topics if len(topics) <= _MOST else [_EVERYTHING])
            await asyncio.sleep(_GAP)

    async def _ring(self, topics: list[str]) -> None:
        db = await self._connection.here()
        await db.board.strike()
        ring = {"$inc": {"n": 1}, "$push": {"rings": {"$each": [json.dumps(topics)], "$slice": -_KEPT}}}
        await db.bell.with_options(write_concern=WriteConcern(1)).update_one(_BELL, ring)

    # -- listening ------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        again = _AGAIN
        while True:
            await self._until_wanted()
            try:
                db = await self._connection.here()
                await self._hear(db)
                self._alive = True
                again = _AGAIN
                await self._follow(db)
            except (PyMongoError, Error):
                self._alive = False
                self._heard_up_to = None
                await asyncio.sleep(again)
                again = min(2 * again, _AGAIN_AT_MOST)

    async def _until_wanted(self) -> None:
        """Nobody waits: nobody needs to hear."""
        if not self._has_waiters():
            self._wanted.clear()
            if not self._has_waiters():
                await self._wanted.wait()

    def _has_waiters(self) -> bool:
        with self._lock:
            return bool(self._waiters)

    async def _follow(self, db: Database) -> None:
        """Hear what is rung, until nobody waits any more. Raises: PyMongoError, when the connection breaks."""
        stream = await _stream(db.bell) if db.replicated else None
        if stream is None:
            await self._look_again(db)
            return
        async with stream:
            await self._hear(db)  # what was rung before the stream stood
            while self._has_waiters() and await self._next(db, stream):
                pass

    async def _next(self, db: Database, stream: AsyncCollectionChangeStream[Document]) -> bool:
        began = time.monotonic()
        if await stream.try_next() is not None:
            await self._hear(db)
        elif time.monotonic() - began < _AT_ONCE:
            await self._look_again(db)
            return False
        return stream.alive

    async def _look_again(self, db: Database) -> None:
        pause = _LOOK
        while self._has_waiters():
            await asyncio.sleep(pause)
            pause = _LOOK if await self._hear(db) else min(2 * pause, _LOOK_AT_MOST)

    async def _hear(self, db: Database) -> bool:
        """Ring here what was rung since the last look; whether there was anything."""
        found: dict[str, Any] = await db.bell.find_one(_BELL) or {"n": 0, "rings": []}
        n, last = int(found["n"]), self._heard_up_to
        self._heard_up_to = n
        if last is None:  # what was rung meanwhile is not known
            self.ring_here(_EVERYTHING)
            return True
        missed = n - last
        if missed > len(found["rings"]) or missed < 0:
            self.ring_here(_EVERYTHING)
        elif missed:
            self.ring_here(*{topic for ring in found["rings"][-missed:] for topic in json.loads(ring)})
        return missed != 0


async def _stream(bell: Collection) -> AsyncCollectionChangeStream[Document] | None:
    """A stream of the bell's changes; None where the server has none."""
    try:
        return await bell.watch([], max_await_time_ms=int(_AWAIT * 1000))
    except OperationFailure:
        return None
