"""Reading what a script prints: pipes drained without blocking, first and last bytes kept, the rest counted."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable

CHUNK = 64 * 1024
#: how much of a stream is kept from its end, once it has outgrown what is kept from its beginning
TAIL = 256 * 1024
#: JSON held back from the log, since it may turn out to be the result
HELD = 256 * 1024


class Pipe:
    """The reading end of a pipe that a script writes to."""

    def __init__(self, on_data: Callable[[bytes], None]) -> None:
        self._on_data = on_data
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._read)

    def close_writer(self) -> None:
        """Our copy of the writing end, once the script has its own."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def drain(self) -> None:
        """Take what is left in the pipe; for when everything that could write is dead."""
        while self._reader >= 0 and self._read():
            pass

    def close(self) -> None:
        """Both ends; safe to repeat."""
        self.close_writer()
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1

    def _read(self) -> bool:
        try:
            data = os.read(self._reader, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._on_data(data)
        return True


class Capture:
    """A stream's bytes: all of them up to `keep`, beyond that its first and its last ones, and how many there were."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        self.total += len(data)
        room = self._keep - len(self._head)
        self._head += data[:room]
        self._tail += data[max(0, room) :]
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]

    @property
    def whole(self) -> bytes | None:
        """All of it, or None when it has outgrown what is kept."""
        return bytes(self._head) if self.total == len(self._head) else None

    def first(self, size: int) -> bytes:
        """The first bytes, `size` at most."""
        return bytes(self._head[:size])

    def last(self, size: int) -> bytes:
        """The last bytes, `size` at most."""
        if len(self._tail) >= size:
            return bytes(self._tail[-size:])
        gap = self.total > len(self._head) + len(self._tail)
        return bytes(self._tail) if gap else bytes((self._head + self._tail)[-size:])


class Lines:
    """Cuts a stream of bytes into complete lines, each `limit` bytes at most; an endless line comes in pieces."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines now complete, without their ends."""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        while len(self._rest) > self._limit:
            lines.append(bytes(self._rest[: self._limit]))
            del self._rest[: self._limit]
        return lines


class Withheld:
    """Keeps back from the log what may be the result: output that is JSON from its start, and a last line that looks
    like an object or an array. What turns out not to be is given to the log after all."""

    def __init__(self, give: Callable[[bytes], None]) -> None:
        self._give = give
        self._held = bytearray()
        self._line = bytearray()
        self._first = True
        self._whole = False

    def feed(self, data: bytes) -> None:
        """The next bytes of standard output."""
        self._line += data
        *complete, rest = bytes(self._line).split(b"\n")
        self._line = bytearray(rest)
        for line in complete:
            self._take(line + b"\n")
        if len(self._held) + len(self._line) > HELD:
            self._whole = False
            self._release()
            self._give(bytes(self._line))
            self._line.clear()

    def finish(self, taken: bool) -> None:
        """The stream has ended; what is still held goes to the log unless it was `taken` as the result."""
        self._held += self._line
        self._line.clear()
        if not taken:
            self._release()
        self._held.clear()

    def _take(self, line: bytes) -> None:
        if self._whole or not line.strip():
            if self._held:
                self._held += line
            else:
                self._give(line)
            return
        self._release()
        if line.lstrip()[:1] in (b"{", b"["):
            self._held += line
            self._whole = self._first and _may_go_on(line)
        else:
            self._give(line)
        self._first = False

    def _release(self) -> None:
        if self._held:
            self._give(bytes(self._held))
            self._held.clear()


def _may_go_on(line: bytes) -> bool:
    """Whether a line is the beginning of JSON that its next lines may complete."""
    text = line.decode("utf-8", "replace").strip()
    with contextlib.suppress(RecursionError):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            return error.pos >= len(text) or error.msg.startswith("Unterminated")
    return False
