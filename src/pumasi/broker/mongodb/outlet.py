"""What documents of other programs are told of their jobs.

A record that changes is marked `untold` in the same write; then its document is written, in one step, and the mark is
struck off. Who dies between leaves the mark, and a sweep tells the document. To tell is safe to repeat, and side by
side: a document is written only while it is where the run that is over has left it (its token, its attempt).

A document that runs with us belongs to its record. One that another program has taken, ended or removed is left alone,
and its job, if it waits, has ended.
"""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from bson import encode
from bson.errors import BSONError
from msgspec.structs import replace
from pymongo.errors import PyMongoError

from pumasi.broker.mongodb import classic, documents, jobs, logs, wording
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.classic import PENDING, RUNNING
from pumasi.broker.mongodb.database import Database
from pumasi.core import lifecycle
from pumasi.core.job import Job, State

#: records of a log that are looked at
_RECORDS = 100_000


async def tell(db: Database, changed: Iterable[Job | None]) -> None:
    """Tell the documents of those that are documents. One that cannot be told now is told by a sweep."""
    for job in changed:
        if job is not None and classic.may_be(job) and job.state is not State.RUNNING:
            with contextlib.suppress(PyMongoError, BSONError):
                await tell_one(db, job.id)


async def tell_one(db: Database, id: str, given_up: str | None = None) -> None:
    """Tell the document of one job, if it is a document, and strike the mark off. With the token of a claim that was
    given up: what that has made of the document is undone, too."""
    record = await db.jobs.find_one({"_id": id})
    if record is None:
        return
    job = jobs.record(record)
    if "document" in record and job.state is not State.RUNNING:
        await _bring(db, job, classic.unpacked(record["document"]), given_up)
    if "untold" in record:
        await db.jobs.update_one({"_id": id, "revision": {"$eq": job.revision}}, {"$unset": {"untold": ""}})


async def _bring(db: Database, job: Job, key: Any, given_up: str | None) -> None:
    document = await db.classic.find_one({"_id": {"$eq": key}})
    if document is None:
        await _forsake(db, job)
    elif classic.is_ours(document) and classic.mark_of(document).get("job") == job.id:
        mark = classic.mark_of(document)
        if mark["token"] == given_up or mark.get("attempt", 0) <= job.attempt:  # else it is being claimed
            await _say(db, job, document, {"status": {"$eq": RUNNING}}, mark["token"])
    elif document.get("status") == PENDING and classic.job_id(key, classic.times_ended(document)) == job.id:
        if job.ended:
            await _say(db, job, document, {"status": {"$eq": PENDING}}, None)
    else:
        await _forsake(db, job)


async def _forsake(db: Database, job: Job) -> None:
    """Its document is gone, or another program's by now."""
    if job.state is State.PENDING:
        after = lifecycle.cancelled(job, db.clock.now())
        after = replace(after, error="cancelled: its document was removed, or taken by another program")
        await jobs.swap(db, [(job, after)], same_lease=True)


async def _say(db: Database, job: Job, document: Document, still: Document, token: str | None) -> None:
    now = db.clock.now()
    same = {"_id": {"$eq": document["_id"]}, **still, "pumasi.token": token}
    ended = classic.times_ended(document)
    said = None
    if job.ended or wording.ran_in_vain(job):
        stdout, stderr = await _output(db, job)
        said = wording.ending(job, stdout, stderr, len(encode(document)), now)
    if said is not None and job.ended:
        mark = {"job": job.id, "ended": ended + 1}
        sets = documents.completed(mark) if job.state is State.COMPLETED else documents.failed(said, mark)
    else:
        mark = {"job": job.id, "ended": ended, "attempt": job.attempt}
        sets = {"status": PENDING, "pumasi": mark}
        sets |= {"scheduled_date": classic.date(job.run_at)} if said is not None else {}
    await documents.write(db, same, sets, None if said is None else said.line)


async def _output(db: Database, job: Job) -> tuple[str, str]:
    """What the last attempt printed, and what it wrote to standard error."""
    records = await logs.read(db, job.id, job.attempt << 32, _RECORDS) or []
    streams = {"stdout": bytearray(), "stderr": bytearray()}
    for record in records:
        if record.stream in streams:
            streams[record.stream] += record.data
    return streams["stdout"].decode(errors="replace"), streams["stderr"].decode(errors="replace")


async def prolong(db: Database, held: Mapping[bytes, str], until: float) -> None:
    """The documents, packed ids with their tokens, of leases that were extended."""
    keys = [classic.unpacked(key) for key in held]
    same = {"_id": {"$in": keys}, "pumasi.token": {"$in": sorted(held.values())}}
    await db.classic.update_many(same, {"$set": {"pumasi.lease_until": until}})
