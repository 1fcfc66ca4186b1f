"""Logs of runs, bounded as `core.logbook` says.

What one call appends is one document, or a few when it is large: `{_id: job/n, job, n, last, records}`. The number `n`
and the size of the whole come from the job's own document, in the one update that also checks the token; so there is no
lease without a log, and no log without a lease. A record that comes again, because an answer was lost, lies in two
documents: whoever reads takes the first. When the log has become too large, documents that hold only what is to be
dropped are removed, and those at the edge are written anew.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from bson import Binary
from msgspec import Struct
from pymongo import DeleteOne, ReturnDocument, UpdateOne

from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database
from pumasi.core.job import Record
from pumasi.core.logbook import HEAD_BYTES, SLACK_BYTES, TAIL_BYTES, dropped, last_progress, weight

#: bytes of records in one document
_PART = 4 * 1024 * 1024
#: a record larger than this would be dropped at once: it is not stored at all
_TOO_LARGE = 8 * 1024 * 1024

_encode = msgspec.msgpack.Encoder().encode


class _Packed(Struct, array_like=True):
    seq: int
    time: float
    stream: str
    data: bytes


_packed = msgspec.msgpack.Decoder(list[_Packed])


async def append(db: Database, id: str, token: str, records: Sequence[Record]) -> bool:
    """As `Store.append`."""
    progress = last_progress(records)
    parts = _parts([record for record in records if len(record.data) <= _TOO_LARGE])
    change: Document = {"$inc": {"log_bytes": sum(map(weight, records)), "log_parts": len(parts)}}
    if progress is None:
        job = await _note(db, id, token, change)
    else:
        async with db.board.flight(1) as flight:
            told = {"progress": msgspec.json.encode(progress).decode(), "change": flight.numbers[0]}
            job = await _note(db, id, token, {**change, "$set": told})
    if job is None:
        return False
    await _put(db, id, job["log_parts"] - len(parts), parts, {})
    if job["log_bytes"] > HEAD_BYTES + TAIL_BYTES + SLACK_BYTES:
        await _trim(db, id, job["log_bytes"])
    return True


async def adopt(db: Database, id: str, records: Sequence[Record], batch: str) -> None:
    """The log of a job that is staged, and goes with its batch when that is given up."""
    await _put(db, id, 0, _parts(records), {"batch": batch})


async def read(db: Database, id: str, after: int, limit: int) -> list[Record] | None:
    """As `Store.read`."""
    if await db.jobs.find_one({"_id": id}, {"_id": 1}) is None:
        return None
    found = await db.logs.find({"job": {"$eq": id}, "last": {"$gt": after}}).sort([("n", 1)]).to_list()
    records = _merged(found)
    return [records[seq] for seq in sorted(records) if seq > after][:limit]


async def forget(db: Database, ids: Sequence[str]) -> None:
    """Remove the logs of these jobs."""
    await db.logs.delete_many({"job": {"$in": list(ids)}})


async def _note(db: Database, id: str, token: str, change: Document) -> Mapping[str, Any] | None:
    same = {"_id": id, "token": {"$eq": token}, "state": {"$eq": "running"}}
    fields = {"log_bytes": 1, "log_parts": 1}
    return await db.jobs.find_one_and_update(same, change, fields, return_document=ReturnDocument.AFTER)


def _parts(records: Sequence[Record]) -> list[list[Record]]:
    """The records, in groups that fit into a document."""
    parts: list[list[Record]] = []
    size = _PART
    for record in records:
        if size + weight(record) > _PART:
            parts.append([])
            size = 0
        parts[-1].append(record)
        size += weight(record)
    return parts


async def _put(db: Database, id: str, first: int, parts: Sequence[Sequence[Record]], also: Mapping[str, str]) -> None:
    documents = [
        {
            "_id": f"{id}/{first + n}",
            "job": id,
            "n": first + n,
            "last": max(record.seq for record in part),
            "records": _pack(part),
            **also,
        }
        for n, part in enumerate(parts)
    ]
    if documents:
        await db.logs.insert_many(documents, ordered=False)


def _pack(records: Sequence[Record]) -> Binary:
    return Binary(_encode([_Packed(record.seq, record.time, record.stream, record.data) for record in records]))


def _unpack(part: Document) -> list[Record]:
    return [Record(one.seq, one.time, one.stream, one.data) for one in _packed.decode(part["records"])]


def _merged(parts: Sequence[Document]) -> dict[int, Record]:
    """The records by seq; of those that came twice the first."""
    records: dict[int, Record] = {}
    for part in parts:
        for record in _unpack(part):
            records.setdefault(record.seq, record)
    return records


async def _trim(db: Database, id: str, size: int) -> None:
    """Drop what is between the first and the last bytes."""
    parts = await db.logs.find({"job": {"$eq": id}}).sort([("n", 1)]).to_list()
    records = _merged(parts)
    gone = set(dropped([(seq, weight(records[seq])) for seq in sorted(records)]))
    steps: list[DeleteOne | UpdateOne] = []
    for part in parts:
        known = _unpack(part)
        kept = [record for record in known if record.seq not in gone]
        if not kept:
            steps.append(DeleteOne({"_id": part["_id"]}))
        elif len(kept) < len(known):
            change = {"records": _pack(kept), "last": max(record.seq for record in kept)}
            steps.append(UpdateOne({"_id": part["_id"]}, {"$set": change}))
    if steps:
        await db.logs.bulk_write(steps, ordered=False)
    left = sum(weight(record) for seq, record in records.items() if seq not in gone)
    await db.jobs.update_one({"_id": id}, {"$inc": {"log_bytes": left - size}})
