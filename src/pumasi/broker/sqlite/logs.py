"""Logs of runs, bounded as `core.logbook` says."""

from collections.abc import Sequence

import msgspec

from pumasi.broker.sqlite import jobs
from pumasi.broker.sqlite.database import Database
from pumasi.core.job import Record
from pumasi.core.logbook import HEAD_BYTES, RECORD_BYTES, SLACK_BYTES, TAIL_BYTES, dropped, last_progress


def append(db: Database, id: str, token: str, records: Sequence[Record]) -> bool:
    """As `Store.append`."""
    row = db.one("writable", id=id, token=token)
    if row is None:
        return False
    job, size = row
    added = db.each("add_record", [jobs.record_columns(job, record) for record in records])
    size += sum(length + RECORD_BYTES for (length,) in added)
    if size > HEAD_BYTES + TAIL_BYTES + SLACK_BYTES:
        size = _trim(db, job)
    db.run("set_log_bytes", job=job, bytes=size)
    if progress := last_progress(records):
        change = db.value("next_change", n=1)
        db.run("set_progress", job=job, progress=msgspec.json.encode(progress), change=change)
    return True


def _trim(db: Database, job: int) -> int:
    """Drop what is between the first and the last bytes; the size that is left."""
    sizes = [(seq, length + RECORD_BYTES) for seq, length in db.all("log_sizes", job=job)]
    gone = set(dropped(sizes))
    db.run("drop_records", job=job, seqs=jobs.json(gone))
    return sum(size for seq, size in sizes if seq not in gone)


def read(db: Database, id: str, after: int, limit: int) -> list[Record] | None:
    """As `Store.read`."""
    job = db.value("row_of", id=id)
    if job is None:
        return None
    return [Record(*row) for row in db.run("read", job=job, after=after, limit=limit)]
