"""Large things, in parts: each is a step of its own, so that nobody waits long for the server.

The parts of a new version are doomed from the start, and spared in the step that makes the blob point to them: who dies
between leaves nothing that `purge` will not find.
"""

import os

from pumasi.broker.redis.jobs import packed
from pumasi.broker.redis.server import Server

CHUNK = 512 * 1024
#: seconds that writing a blob may take
PATIENCE = 3600.0


async def put(server: Server, key: str, data: bytes) -> None:
    """Keep `data` under `key`."""
    version = os.urandom(8).hex()
    parts = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)] or [b""]
    for number, part in enumerate(parts[:-1]):
        await server.run("put_chunk", version, number, PATIENCE, part)
    kind, _, rest = key.partition("/")
    ask = {
        "key": key,
        "version": version,
        "chunks": len(parts),
        "size": len(data),
        "owner": rest.partition("/")[0],
        "bundle": kind == "script",
    }
    await server.run("complete_blob", packed(ask), parts[-1])


async def get(server: Server, key: str) -> bytes | None:
    """The bytes under `key`, or None."""
    while True:
        found = await server.run("get_blob", key)
        if found is None:
            return None
        version, size, first = found[0].decode(), int(found[1]), found[2]
        data = await _rest(server, version, size, first)
        if data is not None:
            return data
        # it was replaced while being read: read the new one


async def _rest(server: Server, version: str, size: int, first: bytes | None) -> bytes | None:
    """A blob whose first part is known; None when a part is gone."""
    data = bytearray(first or b"")
    for number in range(1, -(-size // CHUNK)):
        part = await server.ask(b"GET", server.key(f"chunk:{version}:{number}"))
        if part is None:
            return None
        data += part
    return bytes(data) if len(data) == size else None


async def names(server: Server, prefix: str) -> dict[str, int]:
    """Keys that begin with `prefix`, and sizes."""
    found = await server.run("list_blobs", prefix)
    return {key.decode(): int(size) for key, size in zip(found[::2], found[1::2], strict=True)}
