"""The spool: what has finished and is not yet known to the broker, on this machine's disk.

One append-only file a worker, locked while it lives. A frame is length, CRC-32 and a msgpack body: a finished run, or
the number of one that is settled. Writers share an fsync (group commit). When nothing waits, the file is cut to
nothing. A worker that starts takes over the files that nobody has locked.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from pumasi.runner.runner import Finished

_FRAME = struct.Struct(">II")
#: a file in which nothing waits is cut to nothing once it has grown so far; to cut is dear, to write is cheap
CUT_BYTES = 1024 * 1024


class _Entry(msgspec.Struct, array_like=True):
    number: int
    finished: Finished | None = None


class Spool:
    """This worker's file; `put` returns once the disk has it."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}-{os.getpid()}.spool"
        self._fd = -1
        self._number = 0
        self._kept: set[int] = set()
        self._queue: list[tuple[bytes, asyncio.Future[None] | None]] = []
        self._writing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Make and lock our file. Raises: OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    async def adopt(self) -> list[tuple[int, Finished]]:
        """What dead workers left behind, now kept here under our numbers."""
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
                path.unlink(missing_ok=True)
        return adopted

    async def put(self, finished: Finished) -> int:
        """Keep it; returns the number to `drop` it by. Raises: OSError (the disk is full)."""
        self._number += 1
        number = self._number
        self._kept.add(number)
        await self._write(_Entry(number, finished))
        return number

    def drop(self, number: int) -> None:
        """The broker knows. A drop that is lost costs a repeated settle, so nobody waits for the disk."""
        self._kept.discard(number)
        if self._writing is not None and not self._writing.done():
            self._queue.append((_framed(_Entry(number)), None))
        elif self._kept or os.fstat(self._fd).st_size < CUT_BYTES:
            os.write(self._fd, _framed(_Entry(number)))
        else:
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Unlock; the file goes when it is empty."""
        if self._fd >= 0:
            if not self._kept:
                with contextlib.suppress(FileNotFoundError):
                    self._path.unlink()
            os.close(self._fd)
            self._fd = -1

    async def _write(self, entry: _Entry) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((_framed(entry), done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            error = await asyncio.to_thread(self._sync, b"".join(frame for frame, _ in batch))
            for _, done in batch:
                if done is not None and not done.done():
                    done.set_exception(error) if error else done.set_result(None)

    def _sync(self, data: bytes) -> OSError | None:
        """Write all or nothing, and wait for the disk."""
        size = os.fstat(self._fd).st_size
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, size)
            return error
        return None


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
