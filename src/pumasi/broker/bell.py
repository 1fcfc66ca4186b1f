"""Bells: hints that something may have changed, so that nobody polls tightly. One may ring for nothing, or not at all.

`Bell` reaches the waiters of one process, in any of its threads and event loops. `SocketBell` also reaches the other
processes of a host: each listens on a datagram socket in a folder they share, and to ring is to send to every socket
there; a socket whose process is gone refuses, and is removed. One too busy to take a datagram is told "everything" a
little later. An idle listener costs nothing. Where the folder cannot be used, or gives no sockets, the bell reaches
this process only, and whoever waits finds out by looking again.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator

#: bytes of one datagram; a longer list of topics rings everybody
_MAX_DATAGRAM = 8192
_EVERYBODY = "*"
_EVERYTHING = json.dumps([_EVERYBODY]).encode()
#: seconds until one that was too busy to hear is rung again: doubled from the first to the last
_AGAIN = 0.02
_AGAIN_AT_MOST = 5.0
#: our sockets in the folder; what else lies there is not ours to touch
_NAME = re.compile(r"\d+-[0-9a-f]{8}")


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
        if self._event.is_set():  # it has yet to look, and will see this too
            return
        if asyncio._get_running_loop() is self._loop:
            self._event.set()
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._event.set)


class Bell:
    """The waiters of this process; a backend with push of its own subclasses this."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[str, set[Heard]] = defaultdict(set)

    @property
    def alive(self) -> bool:
        """Whether rings of others can be heard just now; if not, whoever waits looks more often."""
        return True

    async def open(self) -> None:
        """Begin to listen."""

    async def close(self) -> None:
        """Stop listening."""

    def ring(self, *topics: str) -> None:
        """Hint to everybody that these topics may have changed; never blocks, never fails."""
        self.ring_here(*topics)

    def ring_here(self, *topics: str) -> None:
        """Wake the waiters of this process."""
        with self._lock:
            rung = list(self._waiters) if _EVERYBODY in topics else topics
            woken = {heard for topic in rung for heard in self._waiters.get(topic, ())}
        for heard in woken:
            heard.ring()

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Heard]:
        """A waiter for these topics; a ring between two of its waits is not lost."""
        heard = Heard(frozenset(topics))
        with self._lock:
            for topic in heard.topics:
                self._waiters[topic].add(heard)
        try:
            yield heard
        finally:
            with self._lock:
                for topic in heard.topics:
                    self._waiters[topic].discard(heard)
                    if not self._waiters[topic]:
                        del self._waiters[topic]


class SocketBell(Bell):
    """A bell heard by all processes of this host that share `folder`. Each event loop has one of its own."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = os.path.abspath(folder)
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._fd = -1
        self._inbox: socket.socket | None = None
        self._outbox: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        #: topics rung but not sent yet: what is rung in one turn of the loop goes out together
        self._topics: set[str] = set()
        #: sockets whose owner was too busy to hear
        self._deaf: set[str] = set()
        self._again = _AGAIN

    @property
    def alive(self) -> bool:
        return self._inbox is not None

    async def open(self) -> None:
        if self._loop is not None:
            return
        try:
            self._open()
        except OSError:  # no such folder to be had, or no sockets in it: this process only
            self._shut()
            return
        self._loop = asyncio.get_running_loop()
        if self._inbox is not None:
            self._loop.add_reader(self._inbox, self._receive, self._inbox)

    async def close(self) -> None:
        if self._loop is None or self._inbox is None:
            return
        self._loop.remove_reader(self._inbox)
        self._send()
        with self._lock:
            self._loop = None
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._fd)
        self._shut()

    def ring(self, *topics: str) -> None:
        self.ring_here(*topics)
        with self._lock:
            loop, waiting = self._loop, bool(self._topics)
            if loop is None:
                return
            self._topics.update(topics)
        if not waiting:
            with contextlib.suppress(RuntimeError):  # the loop is closed: it will ring nobody any more
                loop.call_soon_threadsafe(self._send)

    def _open(self) -> None:
        os.makedirs(self._folder, exist_ok=True)
        self._fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._outbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._inbox.bind(self._path(self._name))

    def _shut(self) -> None:
        for end in (self._inbox, self._outbox):
            if end is not None:
                end.close()
        if self._fd >= 0:
            os.close(self._fd)
        self._inbox = self._outbox = None
        self._fd = -1

    def _send(self) -> None:
        """Send what was rung since the last turn to every other socket in the folder."""
        with self._lock:
            topics, self._topics = self._topics, set()
        if not topics or self._outbox is None:
            return
        message = json.dumps(list(topics)).encode()
        if len(message) > _MAX_DATAGRAM:
            message = _EVERYTHING
        try:
            names = os.listdir(self._fd)
        except OSError:  # the folder was removed: this process only, from now on
            return
        for name in names:
            if name != self._name and name not in self._deaf and _NAME.fullmatch(name):
                self._send_to(name, message)

    def _send_to(self, name: str, message: bytes) -> None:
        if self._outbox is None:
            return
        try:
            self._outbox.sendto(message, self._path(name))
        except ConnectionRefusedError:  # its process is gone
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._fd)
        except BlockingIOError:
            self._ring_again(name)
        except OSError:  # just gone, or no socket of ours
            pass

    def _ring_again(self, name: str) -> None:
        """Its inbox is full of what it has not looked at: tell it everything once there is room."""
        self._deaf.add(name)
        if len(self._deaf) == 1 and self._loop is not None:
            self._loop.call_later(self._again, self._ring_deaf)

    def _ring_deaf(self) -> None:
        self._again = min(2 * self._again, _AGAIN_AT_MOST)
        deaf, self._deaf = self._deaf, set()
        for name in deaf:
            self._send_to(name, _EVERYTHING)
        if not self._deaf:
            self._again = _AGAIN

    def _receive(self, inbox: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                message = inbox.recv(_MAX_DATAGRAM)
                with contextlib.suppress(ValueError):  # not from one of us
                    topics = json.loads(message)
                    if isinstance(topics, list):
                        self.ring_here(*(topic for topic in topics if isinstance(topic, str)))

    def _path(self, name: str) -> str:
        """A path short enough for a socket's address, however long the folder's is."""
        return f"/proc/self/fd/{self._fd}/{name}"
