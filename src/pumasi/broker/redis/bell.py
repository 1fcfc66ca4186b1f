"""The bell: hints by publish and subscribe, on one channel of all who share a prefix.

A ring goes out on the store's own connection, and nobody waits for it. The first goes at once; those that follow within
a moment go out together, so that a busy process does not ring more often than others can hear. Listening needs a
connection of its own. One that nobody has listened by for a while is closed, so that it costs nothing to hear what
nobody here wants to know; it is made again when somebody listens. Each time that it stands again everything is rung:
what was missed is looked for.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

from pumasi.broker.bell import Bell, Heard
from pumasi.broker.redis.connection import end, first_connected
from pumasi.broker.redis.server import Server
from pumasi.broker.redis.wire import Gone, Refusal, Wire, packed
from pumasi.errors import Error

#: seconds between two rings of one process, at least
GAP = 0.002
#: seconds between two looks whether the connection lives; one that said nothing in between is given up
LOOK = 5.0
#: seconds until a broken connection is tried again: doubled from the first to the last
_AGAIN, _AGAIN_AT_MOST = 0.05, 5.0
#: seconds that a look for an entry lasts
PEEK = 5
#: seconds that opening waits for the connection, at most
_OPENING = 1.0
#: seconds after which a connection is closed by which nobody listens
UNUSED = 30.0
_EVERYBODY = "*"


class RedisBell(Bell):
    """A bell heard by all processes that use the same server and prefix."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._channel = server.key("bell")
        self._me = f"from:{os.urandom(6).hex()}"
        self._mine = json.dumps([self._me])[:-1].encode()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: asyncio.Task[None] | None = None
        self._stands: asyncio.Event = asyncio.Event()
        self._ever = False
        self._heard_at = self._used_at = 0.0
        self._topics: set[str] = set()
        self._rung_at = float("-inf")
        self._idle = asyncio.Event()
        self._peeking: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        return self._stands.is_set()

    async def open(self) -> None:
        if self._loop is not None:
            return
        self._loop = asyncio.get_running_loop()
        self._stands, self._ever = asyncio.Event(), False
        self._begin()
        if self._server.face.on:
            self._idle = asyncio.Event()
            self._server.face.on_idle = lambda: self._call(self._idle.set)
            self._server.face.on_recorded = lambda queues: self.ring(*(f"queue:{queue}" for queue in queues))
            self._peeking = self._loop.create_task(self._peek())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OPENING):
                await self._stands.wait()
        self._ever = True

    async def close(self) -> None:
        for task in (self._listening, self._peeking):
            while task is not None and not task.done():
                task.cancel()  # once may not be enough: the driver may swallow it
                await asyncio.wait([task], timeout=0.1)
        self._listening = self._peeking = None
        self._send()
        self._loop = None

    def ring(self, *topics: str) -> None:
        self.ring_here(*topics)
        with self._lock:
            loop, waiting = self._loop, bool(self._topics)
            if loop is None:
                return
            self._topics.update(topics)
        if not waiting:
            self._call(self._schedule)

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Heard]:
        if self._listening is None or self._listening.done():
            self._call(self._begin)
        with super().listen(*topics) as heard:
            yield heard

    def _call(self, step: Callable[[], None]) -> None:
        """Do something in the loop of the bell, at once when this is it."""
        loop = self._loop
        if loop is not None and asyncio._get_running_loop() is loop:
            step()
        elif loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the bell is silent from now on
                loop.call_soon_threadsafe(step)

    # -- ringing others -------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if self._loop is None:
            return
        left = self._rung_at + GAP - self._loop.time()
        if left > 0:
            self._loop.call_later(left, self._send)
        else:
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        with self._lock:
            topics, self._topics = self._topics, set()
        if not topics or self._loop is None:
            return
        self._rung_at = self._loop.time()
        self._server.tell(b"PUBLISH", self._channel, json.dumps([self._me, *topics]))

    # -- being rung -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._loop is not None and (self._listening is None or self._listening.done()):
            self._used_at = self._loop.time()
            self._listening = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        """Keep a connection that listens, for as long as anybody does."""
        again = _AGAIN
        while self._is_used():
            try:
                wire = await first_connected(self._server.address, on_push=self._heard)
                try:
                    wire.tell(packed(b"SUBSCRIBE", self._channel))
                    await self._watch(wire)
                    again = _AGAIN if self._stands.is_set() else again
                finally:
                    self._stands.clear()
                    await end(wire)
            except (Error, Gone):
                pass
            if self._is_used():
                await asyncio.sleep(again * random.uniform(0.5, 1.0))
                again = min(2 * again, _AGAIN_AT_MOST)

    async def _watch(self, wire: Wire) -> None:
        """Until the connection is lost, says nothing any more, or is of no use."""
        loop = asyncio.get_running_loop()
        while wire.open and self._is_used():
            asked_at = loop.time()
            await asyncio.wait([wire.lost], timeout=LOOK)
            if not wire.open or self._heard_at < asked_at - LOOK:
                return
            wire.tell(packed(b"PING"))

    def _is_used(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._waiters:
            self._used_at = now
        return now < self._used_at + UNUSED

    def _heard(self, message: Any) -> None:
        """A message, the answer to a ping, or the confirmation that we listen."""
        self._heard_at = asyncio.get_running_loop().time()
        if not isinstance(message, list) or len(message) != 3:
            return
        kind, _, data = message
        if kind == b"subscribe":
            self._stands.set()
            if self._ever:
                self.ring_here(_EVERYBODY)
        elif kind == b"message" and not data.startswith(self._mine):
            with contextlib.suppress(ValueError):  # not from one of us
                topics = json.loads(data)
                if isinstance(topics, list):
                    self.ring_here(*(topic for topic in topics if isinstance(topic, str)))

    # -- entries of the face --------------------------------------------------------------------------------------

    async def _peek(self) -> None:
        """While claims wait, wait in their place for an entry of the face. Whoever pushes one tells nobody.

        A list moved onto itself, from its right end to its right end, stays as it is: the server answers as soon as it
        has an entry, and nothing is taken.
        """
        name = f"{self._server.face.name}:tasks:pending"
        look = packed(b"BLMOVE", name, name, b"RIGHT", b"RIGHT", PEEK)
        again = _AGAIN
        while True:
            try:
                wire = await first_connected(self._server.address)
                try:
                    while True:
                        await self._idle.wait()
                        if await wire.ask(look) is not None:
                            self._idle.clear()  # until a claim has found nothing again
                            self.ring_here(*(topic for topic in tuple(self._waiters) if topic.startswith("queue:")))
                        again = _AGAIN
                finally:
                    await end(wire)
            except (Error, Gone, Refusal) as error:
                if isinstance(error, Refusal) and error.code in ("ERR", "NOPERM"):
                    return  # a server that cannot be asked so, or not by us: whoever waits looks again by itself
                await asyncio.sleep(again * random.uniform(0.5, 1.0))
                again = min(2 * again, _AGAIN_AT_MOST)
