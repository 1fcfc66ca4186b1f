"""A bell by LISTEN and NOTIFY: heard by all processes that have the same schema before them.

Each bell that somebody waits at has a connection of its own on which it listens; one that is only rung has none. What
is rung while a NOTIFY is under way goes out together with the next one. It is sent by itself, not in the transaction
that it tells of: PostgreSQL lets only one transaction that notifies commit at a time, each with its wait for the disk,
and all who write would queue up there.

Whether it can hear is found out by ringing it: behind a pooler that shares sessions out, LISTEN does nothing, and says
so to nobody. A connection that breaks is made anew, later and later; then everything is rung, for what was missed.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import Iterator

import psycopg

from pumasi.broker.bell import Bell, Heard
from pumasi.broker.postgres.connection import Connection, connected
from pumasi.broker.postgres.pool import Pool
from pumasi.errors import Error

#: bytes of a payload that PostgreSQL takes, less one; a longer list of topics rings everybody
_MAX_PAYLOAD = 7999
_EVERYBODY = "*"
#: seconds between two tries to listen again: doubled from the first to the last
_AGAIN = 0.2
_AGAIN_AT_MOST = 30.0
#: seconds within which one's own ring is heard, and between two looks whether it still is
_ECHO = 3.0
_PROBE = 60.0


class PostgresBell(Bell):
    """A bell heard by all who listen to the schema; it listens in the event loop that has opened it."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._name = os.urandom(8).hex()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        #: topics rung but not sent yet
        self._topics: set[str] = set()
        self._echo = asyncio.Event()
        self._alive = False

    @property
    def alive(self) -> bool:
        return self._alive

    async def open(self) -> None:
        if self._loop is None:
            self._echo = asyncio.Event()
            self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None or loop.is_closed() or loop is not asyncio.get_running_loop():
            return
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        self._listening = None
        if self._topics and (self._sending is None or self._sending.done()):
            self._sending = loop.create_task(self._send())
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=_ECHO)
            self._sending.cancel()
            await asyncio.wait([self._sending])
        self._sending = None

    def ring(self, *topics: str) -> None:
        self.ring_here(*topics)
        with self._lock:
            loop, waiting = self._loop, bool(self._topics)
            if loop is None:
                return
            self._topics.update(topics)
        if not waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it will ring nobody any more
                loop.call_soon_threadsafe(self._start_sending)

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Heard]:
        with self._lock:
            loop = self._loop
        if loop is not None and self._listening is None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._start_listening)
        with super().listen(*topics) as heard:
            yield heard

    # -- in the loop of the bell ----------------------------------------------------------------------------------

    def _start_listening(self) -> None:
        if self._loop is not None and self._listening is None:
            self._listening = self._loop.create_task(self._listen())

    def _start_sending(self) -> None:
        if self._loop is not None and (self._sending is None or self._sending.done()):
            self._sending = self._loop.create_task(self._send())

    async def _send(self) -> None:
        """Send what was rung, until nothing is left; a hint that cannot be sent is lost."""
        while True:
            with self._lock:
                topics, self._topics = self._topics, set()
            if not topics:
                return
            with contextlib.suppress(Error):
                await self._notify(*topics)

    async def _notify(self, *topics: str) -> None:
        payload = json.dumps([self._name, *topics])
        if len(payload) > _MAX_PAYLOAD:
            payload = json.dumps([self._name, _EVERYBODY])
        await self._pool.ask("notify", {"channel": self._pool.target.schema, "payload": payload})

    async def _listen(self) -> None:
        """Hold a connection that listens, for ever."""
        pause, first = _AGAIN, True
        while True:
            try:
                heard_once = await self._listen_once(everything=not first)
            except (Error, psycopg.Error, OSError, TimeoutError):
                heard_once = False
            finally:
                self._alive = False
            if heard_once:
                pause = _AGAIN
            first = False
            await asyncio.sleep(pause * (0.5 + random.random()))
            pause = min(2 * pause, _AGAIN_AT_MOST)

    async def _listen_once(self, *, everything: bool) -> bool:
        """Listen on a new connection until it breaks or hears nothing more; whether it heard anything."""
        connection = await connected(self._pool.target)
        try:
            await connection.execute(f'LISTEN "{self._pool.target.schema}"'.encode())
            broken = asyncio.Event()
            loop, number = asyncio.get_running_loop(), connection.fileno()
            loop.add_reader(number, self._receive, connection, number, broken)
            try:
                return await self._stay(broken, everything=everything)
            finally:
                if not broken.is_set():  # else the number may be another's by now
                    loop.remove_reader(number)
        finally:
            connection.pgconn.finish()

    async def _stay(self, broken: asyncio.Event, *, everything: bool) -> bool:
        """Ring oneself from time to time, until nothing comes back; whether anything ever did."""
        heard = False
        while not broken.is_set():
            self._echo.clear()
            await self._notify()
            try:
                async with asyncio.timeout(_ECHO):
                    await _either(self._echo, broken)
            except TimeoutError:
                return heard
            if broken.is_set():
                return heard
            self._alive = True
            if everything and not heard:
                self.ring_here(_EVERYBODY)
            heard = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE):
                    await broken.wait()
        return heard

    def _receive(self, connection: Connection, number: int, broken: asyncio.Event) -> None:
        try:
            connection.pgconn.consume_input()
            while notice := connection.pgconn.notifies():
                self._hear(notice.extra)
        except psycopg.Error:
            self._alive = False
            asyncio.get_running_loop().remove_reader(number)
            broken.set()

    def _hear(self, payload: bytes) -> None:
        with contextlib.suppress(ValueError):  # not from one of us
            name, *topics = json.loads(payload)
            if name == self._name:
                self._echo.set()
            else:
                self.ring_here(*(topic for topic in topics if isinstance(topic, str)))


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    """Until one of two things has happened."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
