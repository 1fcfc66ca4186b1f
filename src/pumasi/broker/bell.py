"""Bells: hints that something may have changed, so that nobody polls tightly. A bell may ring for nothing, or not at all.

`LocalBell` reaches the waiters of one process, in any of its threads and event loops. `SocketBell` also reaches the other
processes of a host: each listens on a datagram socket in a folder they share, and to ring is to send to every socket
there; a socket whose process is gone refuses, and is removed. An idle listener costs nothing.
"""

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from typing import Self

#: bytes of one datagram; a longer list of topics rings everybody
_MAX_DATAGRAM = 8192
_EVERYBODY = "*"


class Heard:
    """One waiter: set by a ring of one of its topics since the last wait."""

    def __init__(self, topics: frozenset[str]) -> None:
        self.topics = topics
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    async def wait(self, timeout: float) -> bool:
        """Until the next ring (one since the last wait counts), at most `timeout` seconds; whether it rang."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def ring(self) -> None:
        """Wake the waiter, from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)


class Bell:
    """The waiters of this process; a backend with push of its own subclasses this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: set[Heard] = set()

    async def open(self) -> None:
        """Begin to listen."""

    async def close(self) -> None:
        """Stop listening."""

    def ring(self, *topics: str) -> None:
        """Hint to everybody that these topics may have changed; never blocks, never fails."""
        self.ring_here(*topics)

    def ring_here(self, *topics: str) -> None:
        """Wake the waiters of this process."""
        rung = frozenset(topics)
        with self._lock:
            woken = [heard for heard in self._waiters if _EVERYBODY in rung or not rung.isdisjoint(heard.topics)]
        for heard in woken:
            heard.ring()

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Heard]:
        """A waiter for these topics; a ring between two of its waits is not lost."""
        heard = Heard(frozenset(topics))
        with self._lock:
            self._waiters.add(heard)
        try:
            yield heard
        finally:
            with self._lock:
                self._waiters.discard(heard)


class SocketBell(Bell):
    """A bell heard by all processes of this host that share `folder`."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder
        self._fd = -1
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._inbox: socket.socket | None = None
        self._outbox: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> Self:  # type: ignore[override]
        os.makedirs(self._folder, mode=0o777, exist_ok=True)
        self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._inbox.bind(self._path(self._name))
        self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inbox, self._receive, self._inbox)
        return self

    async def close(self) -> None:
        if self._inbox is None or self._outbox is None or self._loop is None:
            return
        self._loop.remove_reader(self._inbox)
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._fd)
        self._inbox.close()
        self._outbox.close()
        os.close(self._fd)
        self._inbox = self._outbox = None

    def ring(self, *topics: str) -> None:
        self.ring_here(*topics)
        if self._outbox is None:
            return
        message = json.dumps(topics).encode()
        if len(message) > _MAX_DATAGRAM:
            message = json.dumps([_EVERYBODY]).encode()
        for name in os.listdir(self._fd):
            if name != self._name:
                self._send(message, name)

    def _send(self, message: bytes, name: str) -> None:
        assert self._outbox is not None
        try:
            self._outbox.sendto(message, self._path(name))
        except ConnectionRefusedError:  # its process is gone
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)
        except OSError:  # full, or just gone: a lost hint costs latency only
            pass

    def _receive(self, inbox: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                message = inbox.recv(_MAX_DATAGRAM)
                with contextlib.suppress(ValueError):
                    self.ring_here(*json.loads(message))

    def _path(self, name: str) -> str:
        """A path short enough for a socket's address, however long the folder's is."""
        return f"/proc/self/fd/{self._fd}/{name}"
