"""Logs of runs, bounded as `core.logbook` says."""

from collections.abc import Sequence

from pumasi.broker.redis.jobs import encode, packed
from pumasi.broker.redis.pieces import piece, record_of, seq_bytes
from pumasi.broker.redis.server import Server
from pumasi.core.job import Record
from pumasi.core.logbook import HEAD_BYTES, RECORD_BYTES, SLACK_BYTES, TAIL_BYTES, last_progress


async def append(server: Server, id: str, token: str, records: Sequence[Record]) -> bool:
    """As `Store.append`."""
    progress = last_progress(records)
    ask = {
        "id": id,
        "token": token,
        "head": HEAD_BYTES,
        "tail": TAIL_BYTES,
        "most": HEAD_BYTES + TAIL_BYTES + SLACK_BYTES,
        "record_bytes": RECORD_BYTES,
        "progress": None if progress is None else encode(progress).decode(),
    }
    pieces = sorted(map(piece, records), key=lambda kept: kept[:8])
    return bool(await server.run("append", packed(ask), *pieces))


async def read(server: Server, id: str, after: int, limit: int) -> list[Record] | None:
    """As `Store.read`."""
    pieces = await server.run("read", id, seq_bytes(after + 1), limit)
    return None if pieces is None else [record_of(kept) for kept in pieces]
