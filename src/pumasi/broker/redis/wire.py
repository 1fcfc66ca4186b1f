"""The wire: commands go out as they are given, replies come in the same order (RESP 2).

Many questions share one connection, and what is sent in one turn of the event loop goes out together: a round trip
costs its callers no more than a future each. The driver makes the connection (address, TLS, login); then this takes
over.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

#: seconds that any answer may take
DEADLINE = 10.0
#: what a reply is while it is not whole
_PARTIAL = object()

Value = bytes | str | int | float


class Refusal(Exception):
    """An error that the server answered: its first word, and all of it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code, _, self.rest = text.partition(" ")


class Gone(Exception):
    """The connection ended, or nothing came through it; what was on its way may have been carried out or not."""


def part(value: Value) -> bytes:
    """A value as it is sent in a command."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def packed(*values: Value) -> bytes:
    """A command as it is sent."""
    return b"*%d\r\n" % len(values) + b"".join(map(part, values))


class Wire(asyncio.Protocol):
    """One connection; belongs to one event loop."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        *,
        on_push: Callable[[Any], None] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        """Take a connection over. With `on_push` all that comes in goes there, and nothing can be asked."""
        self._loop = asyncio.get_running_loop()
        self._writer = writer  # it would close the transport if it went
        self._transport = writer.transport
        self._on_push = on_push
        self._deadline = deadline
        self._buffer = b""
        self._out: list[bytes] = []
        #: what is waited for, and since when; without a future nobody waits
        self._waiting: deque[tuple[float, asyncio.Future[Any] | None]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._ended = False
        #: done once the connection is no more
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._transport.set_protocol(self)

    @property
    def open(self) -> bool:
        """Whether something can be sent."""
        return not self._ended and not self._transport.is_closing()

    def ask(self, command: bytes) -> asyncio.Future[Any]:
        """Send a command; the future of its reply. Raises: Gone (nothing was sent); the future: Refusal, Gone."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._send(command, future)
        return future

    def tell(self, command: bytes) -> None:
        """Send a command whose reply nobody waits for. Raises: Gone."""
        self._send(command, None)

    def close(self) -> None:
        """End the connection once all is sent; what is still waited for is `Gone`."""
        if self.open:
            self._flush()
            self._transport.close()
        self._end()

    def abort(self) -> None:
        """End the connection now."""
        self._transport.abort()
        self._end()

    # -- out ------------------------------------------------------------------------------------------------------

    def _send(self, command: bytes, future: asyncio.Future[Any] | None) -> None:
        if not self.open:
            raise Gone("the connection is closed")
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(command)
        if self._on_push is None:
            self._waiting.append((time.monotonic(), future))
            if self._watch is None:
                self._watch = self._loop.call_later(self._deadline, self._look)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _look(self) -> None:
        """Give up when the oldest question has waited too long: nothing behind it can be answered before."""
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][0] + self._deadline - time.monotonic()
        if left <= 0:
            self.abort()
        else:
            self._watch = self._loop.call_later(left, self._look)

    # -- in -------------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while at < len(buffer):
            value, end = _parsed(buffer, at)
            if value is _PARTIAL:
                break
            at = end
            self._deliver(value)
        self._buffer = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        if not self.lost.done():
            self.lost.set_result(None)

    def _deliver(self, value: Any) -> None:
        if self._on_push is not None:
            self._on_push(value)
            return
        if not self._waiting:
            return
        _, future = self._waiting.popleft()
        if future is None or future.done():
            return
        if isinstance(value, Refusal):
            future.set_exception(value)
        else:
            future.set_result(value)

    def _end(self) -> None:
        self._ended = True
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if future is not None and not future.done():
                future.set_exception(Gone("the connection was lost"))


def _parsed(buffer: bytes, at: int) -> tuple[Any, int]:
    """The reply that begins at a place, and where it ends; `_PARTIAL` while more of it is to come."""
    stop = buffer.find(b"\r\n", at)
    if stop < 0:
        return _PARTIAL, at
    kind, line, after = buffer[at], buffer[at + 1 : stop], stop + 2
    if kind == 36:  # $: bytes of a known length
        size = int(line)
        if size < 0:
            return None, after
        end = after + size
        return (buffer[after:end], end + 2) if len(buffer) >= end + 2 else (_PARTIAL, at)
    if kind == 58:  # a whole number
        return int(line), after
    if kind == 42:  # *: an array
        return _array(buffer, after, int(line))
    return (Refusal(line.decode(errors="replace")) if kind == 45 else line), after


def _array(buffer: bytes, at: int, length: int) -> tuple[Any, int]:
    if length < 0:
        return None, at
    values = []
    for _ in range(length):
        value, at = _parsed(buffer, at)
        if value is _PARTIAL:
            return _PARTIAL, at
        values.append(value)
    return values, at
