"""All that a run prints, on this machine's disk, for when it is more than a job's log holds."""

import asyncio
import tempfile
from pathlib import Path
from typing import BinaryIO

from pumasi.core.logbook import HEAD_BYTES


class Overflow:
    """Takes what a run prints, `limit` bytes at most. What fits into a log for sure is held in memory, and goes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._size = 0
        self._total = 0

    def add(self, data: bytes) -> None:
        """The next bytes."""
        self._total += len(data)
        if self._total <= HEAD_BYTES:
            self._held += data
            return
        try:
            self._write(bytes(self._held) + data if self._held else data)
        except OSError:  # a full disk costs the rest of it, and nothing else
            self._limit = self._size
        self._held.clear()

    async def take(self) -> bytes | None:
        """All of it, with what is missing said; None when a log holds it. To be called once, at the end."""
        return await asyncio.to_thread(self._taken) if self._total > HEAD_BYTES else None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        left = memoryview(data)[: self._limit - self._size]
        while left:
            written = self._file.write(left)
            self._size += written
            left = left[written:]

    def _taken(self) -> bytes:
        data = b""
        if self._file is not None:
            with self._file as file:
                file.seek(0)
                data = file.read()
        missing = self._total - len(data)
        return data + f"\n… {missing} bytes left out: more than is kept of a run\n".encode() if missing else data
