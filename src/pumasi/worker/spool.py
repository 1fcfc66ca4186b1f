"""The spool: what has finished and is not yet known to the broker, on this machine's disk.

One append-only file a worker, locked while it lives. A frame is length, CRC-32 and a msgpack body: a finished run, or
the number of one that is settled. What is written outlives the worker at once, and the machine as soon as it is on
disk: that is waited for by nobody, and only done for what the broker has not taken within a moment, all in one go.
When nothing waits, the file is cut to nothing. A worker that starts takes over the files that nobody has locked.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from pumasi.runner.runner import Finished

_FRAME = struct.Struct(">II")
#: seconds after which what still waits is brought to the disk: the answer of a broker in reach comes sooner
SYNC_SECONDS = 0.05
#: bytes of a frame that the event loop does not wait for
LARGE_BYTES = 1024 * 1024
#: a file in which nothing waits is cut to nothing once it has grown so far; to cut is dear, to write is cheap
CUT_BYTES = 1024 * 1024


class _Entry(msgspec.Struct, array_like=True):
    number: int
    finished: Finished | None = None


class Spool:
    """This worker's file."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}-{os.getpid()}.spool"
        self._fd = -1
        self._number = 0
        self._kept: set[int] = set()
        self._lock = threading.Lock()
        self._syncing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Make and lock our file. Raises: OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def adopt(self) -> list[tuple[int, Finished]]:
        """What dead workers left behind, now kept here under our numbers. Raises: OSError."""
        adopted: list[tuple[int, Finished]] = []
        for path in sorted(self._path.parent.glob("*.spool")):
            if path == self._path:
                continue
            with path.open("rb") as file:
                left = _unlocked(file)
                if left is None:
                    continue
                for finished in left:
                    adopted.append((await self.put(finished), finished))
                if left:
                    await asyncio.to_thread(os.fdatasync, self._fd)
                path.unlink(missing_ok=True)
        return adopted

    async def put(self, finished: Finished) -> int:
        """Keep it; returns the number to `drop` it by. Raises: OSError (the disk is full)."""
        self._number += 1
        number = self._number
        frame = _framed(_Entry(number, finished))
        if len(frame) < LARGE_BYTES:
            self._write(frame)
        else:
            await asyncio.to_thread(self._write, frame)
        self._kept.add(number)
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.create_task(self._sync())
        return number

    def drop(self, number: int) -> None:
        """The broker knows. A drop that is lost costs a repeated settle, so nobody waits for the disk."""
        self._kept.discard(number)
        with self._lock:
            if self._kept or os.fstat(self._fd).st_size < CUT_BYTES:
                os.write(self._fd, _framed(_Entry(number)))
            else:
                os.ftruncate(self._fd, 0)

    async def close(self) -> None:
        """Bring what waits to the disk, and unlock; the file goes when it is empty."""
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        if self._fd >= 0:
            if self._kept:
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(os.fdatasync, self._fd)
            else:
                with contextlib.suppress(FileNotFoundError):
                    self._path.unlink()
            os.close(self._fd)
            self._fd = -1

    async def _sync(self) -> None:
        """Once for all that wait by then."""
        await asyncio.sleep(SYNC_SECONDS)
        if self._kept:
            with contextlib.suppress(OSError):  # it may still survive; and the broker is being told
                await asyncio.to_thread(os.fdatasync, self._fd)

    def _write(self, frame: bytes) -> None:
        """All or nothing. Raises: OSError."""
        with self._lock:
            size = os.fstat(self._fd).st_size
            try:
                while frame:
                    frame = frame[os.write(self._fd, frame) :]
            except OSError:
                os.ftruncate(self._fd, size)
                raise


def _unlocked(file: BinaryIO) -> list[Finished] | None:
    """What waits in a file; None while a living worker has it locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    kept: dict[int, Finished] = {}
    for entry in _entries(file.read()):
        if entry.finished is None:
            kept.pop(entry.number, None)
        else:
            kept[entry.number] = entry.finished
    return list(kept.values())


def _entries(data: bytes) -> Iterator[_Entry]:
    """The frames of a file up to the first that was not written whole."""
    while len(data) >= _FRAME.size:
        length, checksum = _FRAME.unpack_from(data)
        body = data[_FRAME.size : _FRAME.size + length]
        if len(body) < length or zlib.crc32(body) != checksum:
            return
        yield msgspec.msgpack.decode(body, type=_Entry)
        data = data[_FRAME.size + length :]


def _framed(entry: _Entry) -> bytes:
    body = msgspec.msgpack.encode(entry)
    return _FRAME.pack(len(body), zlib.crc32(body)) + body
