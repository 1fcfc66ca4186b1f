"""Large things, in chunks: each chunk is a step of its own, so that nobody waits long for the file.

The chunks of a new version are doomed from the start, and spared in the step that makes the blob point to them: who
dies between leaves nothing that `purge` will not find.
"""

import os

from pumasi.broker.sqlite.database import Database
from pumasi.broker.sqlite.desk import Desk

CHUNK = 1024 * 1024
#: seconds that writing a blob may take
PATIENCE = 3600.0
#: chunks that one step reads, or removes
TOGETHER = 8
#: greater than any text that begins with what it is put behind
_END = "\U0010ffff" * 1024


async def put(desk: Desk, key: str, data: bytes, now: float) -> None:
    """Keep `data` under `key`."""
    version = int.from_bytes(os.urandom(8), "big") >> 1
    parts = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    for number, part in enumerate(parts[:-1]):
        await desk.ask(lambda db, number=number, part=part: _put_chunk(db, version, number, part, now))  # type: ignore[misc]
    await desk.ask(lambda db: _complete(db, key, version, parts, len(data), now))


async def get(desk: Desk, key: str) -> bytes | None:
    """The bytes under `key`, or None."""
    while True:
        found = await desk.ask(lambda db: db.one("blob", key=key), write=False)
        if found is None:
            return None
        version, size = found
        data = await _read(desk, version, size)
        if len(data) == size:
            return data
        # it was replaced while being read: read the new one


async def _read(desk: Desk, version: int, size: int) -> bytes:
    data = bytearray()
    for first in range(0, -(-size // CHUNK), TOGETHER):
        parts = await desk.ask(
            lambda db, first=first: db.all("chunks", version=version, first=first, limit=TOGETHER),  # type: ignore[misc]
            write=False,
        )
        for _, part in parts:
            data += part
    return bytes(data)


def names(db: Database, prefix: str) -> dict[str, int]:
    """Keys that begin with `prefix`, and sizes."""
    return dict(db.all("list_blobs", first=prefix, last=prefix + _END))


def remove_doomed(db: Database, now: float) -> bool:
    """Remove some chunks that belong to no blob; whether there may be more."""
    version = db.value("doomed", now=now)
    if version is None:
        return False
    if len(db.all("drop_chunks", version=version, limit=TOGETHER)) < TOGETHER:
        db.run("spare", version=version)
    return True


def _put_chunk(db: Database, version: int, number: int, part: bytes, now: float) -> None:
    db.run("doom", version=version, after=now + PATIENCE)
    db.run("put_chunk", version=version, number=number, data=part)


def _complete(db: Database, key: str, version: int, parts: list[bytes], size: int, now: float) -> None:
    if parts:
        db.run("put_chunk", version=version, number=len(parts) - 1, data=parts[-1])
    kind, _, rest = key.partition("/")
    owner = rest.partition("/")[0]
    db.run("drop_blob", key=key)
    db.run(
        "put_blob",
        key=key,
        version=version,
        job=None if kind == "script" else owner,
        digest=owner if kind == "script" else None,
        size=size,
        now=now,
    )
    db.run("spare", version=version)
