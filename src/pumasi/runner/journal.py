"""A run's log on its way to the broker: collected, bounded, and sent in batches so that a flood costs no more than a
trickle."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from msgspec import json
from msgspec.structs import replace

from pumasi.core.job import Record
from pumasi.errors import LeaseLost, Unavailable
from pumasi.runner.overflow import Overflow

#: seconds between batches
FLUSH_SECONDS = 0.2
#: bytes of one record, of all that wait for the next batch, and of those from its beginning that a flood leaves
RECORD_BYTES = 32 * 1024
WAITING_BYTES = 256 * 1024
FIRST_BYTES = 64 * 1024
TAIL_BYTES = 4096


class Journal:
    """Numbers the records of one attempt and sends them; what a flood leaves no room for is counted and said."""

    def __init__(
        self, attempt: int, send: Callable[[Sequence[Record]], Awaitable[None]], overflow: Overflow | None = None
    ) -> None:
        self._overflow = overflow
        self._base = attempt << 32
        self._number = 0
        self._send = send
        self._waiting: list[Record] = []
        self._bytes = 0
        self._skipped = 0
        #: the seq of the first record that was skipped since the last batch, or 0
        self._gap = 0
        self._progress: bytes | None = None
        self._tail = bytearray()
        self._lost = False
        self._closed = False
        self._flusher: asyncio.Task[None] | None = None

    def add(self, stream: str, data: bytes) -> None:
        """Bytes of a stream, in the order they came."""
        if stream != "system":
            self._tail += data[-TAIL_BYTES:]
            del self._tail[:-TAIL_BYTES]
        if self._overflow is not None:
            self._overflow.add(data)
        for start in range(0, len(data), RECORD_BYTES):
            self._record(stream, data[start : start + RECORD_BYTES])
            if self._bytes > WAITING_BYTES:
                self._skip()

    def note(self, text: str) -> None:
        """A line of our own."""
        self.add("system", text.encode() + b"\n")

    def progress(self, done: float, total: float | None, note: str) -> None:
        """How far the script is; only the latest is sent."""
        self._progress = json.encode([done, total, note])
        self._wake()

    @property
    def tail(self) -> str:
        """The last lines, as text."""
        text = bytes(self._tail).decode("utf-8", "replace")
        return text if len(self._tail) < TAIL_BYTES else text.partition("\n")[2]

    async def close(self) -> tuple[Record, ...]:
        """Stop sending; returns the records that still wait, to go with the outcome."""
        self._closed = True
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        return () if self._lost else tuple(self._batch())

    async def whole(self) -> bytes | None:
        """All that was printed, when that is wanted, and more than the log may hold; to be called once, at the end."""
        return None if self._overflow is None else await self._overflow.take()

    def _record(self, stream: str, data: bytes) -> None:
        """Bytes as a record of their own, or at the end of the last one that waits: lines need no record each."""
        self._bytes += len(data)
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.stream == stream != "progress" and len(last.data) + len(data) <= RECORD_BYTES:
            self._waiting[-1] = replace(last, data=last.data + data)
        else:
            self._number += 1
            self._waiting.append(Record(self._base | self._number, time.time(), stream, data))
        self._wake()

    def _skip(self) -> None:
        """Let go of what is neither first nor last among what waits: a quarter at once, or each line would cost it."""
        first, size = 0, 0
        while size + len(self._waiting[first].data) <= FIRST_BYTES:
            size += len(self._waiting[first].data)
            first += 1
        end, freed = first, 0
        while freed < WAITING_BYTES // 4:
            freed += len(self._waiting[end].data)
            end += 1
        self._gap = self._gap or self._waiting[first].seq
        del self._waiting[first:end]
        self._bytes -= freed
        self._skipped += freed

    def _wake(self) -> None:
        if not self._closed and (self._flusher is None or self._flusher.done()):
            self._flusher = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        """After a moment's collecting, send; again while there is more."""
        while not self._lost and (self._waiting or self._skipped or self._progress):
            await asyncio.sleep(FLUSH_SECONDS)
            batch = self._batch()
            try:
                await self._send(batch)
            except LeaseLost:
                self._lost = True
            except Unavailable:
                self._waiting = batch + self._waiting
                self._bytes += sum(len(record.data) for record in batch)
            except asyncio.CancelledError:
                self._waiting = batch + self._waiting
                raise

    def _batch(self) -> list[Record]:
        """Everything that waits, with what was left out said, and the latest progress."""
        skipped, gap, self._skipped, self._gap = self._skipped, self._gap, 0, 0
        if skipped:
            text = f"… {skipped} bytes left out: printed faster than a log can be kept\n"
            self._waiting.append(Record(gap, time.time(), "system", text.encode()))
            self._waiting.sort(key=lambda record: record.seq)
        if self._progress is not None:
            progress, self._progress = self._progress, None
            self._record("progress", progress)
        batch, self._waiting, self._bytes = self._waiting, [], 0
        return batch
