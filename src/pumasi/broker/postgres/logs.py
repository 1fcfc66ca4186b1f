"""Logs of runs, bounded as `core.logbook` says."""

from collections.abc import Sequence

from pumasi.broker.postgres.pool import Pool
from pumasi.broker.postgres.records import encode, shown
from pumasi.core.job import Record
from pumasi.core.logbook import HEAD_BYTES, RECORD_BYTES, SLACK_BYTES, TAIL_BYTES, last_progress


async def append(pool: Pool, id: str, token: str, records: Sequence[Record]) -> bool:
    """As `Store.append`."""
    progress = last_progress(records)
    values = {
        "id": id,
        "token": token,
        "seqs": [record.seq for record in records],
        "ats": [record.time for record in records],
        "streams": [shown(record.stream) for record in records],
        "data": [record.data for record in records],
        "progress": None if progress is None else encode(progress),
        "weight": RECORD_BYTES,
        "head": HEAD_BYTES,
        "tail": TAIL_BYTES,
        "slack": SLACK_BYTES,
    }
    ((written,),) = await pool.ask("append", values)
    return bool(written)


async def read(pool: Pool, id: str, after: int, limit: int) -> list[Record] | None:
    """As `Store.read`."""
    rows = await pool.ask("read", {"id": id, "after": after, "limit": limit})
    return [Record(*row) for row in rows if row[0] is not None] if rows else None
