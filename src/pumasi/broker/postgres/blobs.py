"""Large things, in chunks: each chunk is a statement of its own, so that none takes long.

The chunks of a new version are doomed from the start, and spared in the step that makes the blob point to them: who
dies between leaves nothing that `purge` will not find.
"""

import uuid

from pumasi.broker.postgres.pool import Pool
from pumasi.broker.postgres.records import digest
from pumasi.core.job import MAX_ID

CHUNK = 1024 * 1024
#: seconds that writing a blob may take
PATIENCE = 3600.0
#: chunks that one statement reads, or removes
TOGETHER = 8


async def put(pool: Pool, key: str, data: bytes, now: float | None) -> None:
    """Keep `data` under `key`."""
    parts: list[bytes | None] = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or [None]
    kind, _, rest = key.partition("/")
    owner = rest.partition("/")[0]
    values = {
        "now": now,
        "version": uuid.uuid4().hex,
        "patience": PATIENCE,
        "hash": digest("blob", key),
        "key": key,
        # no job has a longer id: such a blob is a stray
        "job": None if kind == "script" else owner[: MAX_ID + 1],
        "digest": digest("digest", owner) if kind == "script" else None,
        "size": len(data),
    }
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        await pool.ask("put_chunk", values | {"number": number, "data": part, "last": last})


async def get(pool: Pool, key: str) -> bytes | None:
    """The bytes under `key`, or None."""
    while True:
        rows = await pool.ask("get_blob", {"hash": digest("blob", key), "limit": TOGETHER})
        if not rows:
            return None
        version, size, _ = rows[0]
        data = bytearray()
        for *_, part in rows:
            data += part or b""
        for first in range(TOGETHER, -(-size // CHUNK), TOGETHER):
            more = await pool.ask("chunks", {"version": version, "first": first, "limit": TOGETHER})
            for (part,) in more:
                data += part
        if len(data) == size:
            return bytes(data)
        # it was replaced while being read: read the new one


async def names(pool: Pool, prefix: str) -> dict[str, int]:
    """Keys that begin with `prefix`, and sizes."""
    return dict(await pool.ask("list_blobs", {"prefix": prefix}))
