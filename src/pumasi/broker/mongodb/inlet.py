"""The place that takes documents of other programs in.

A document waits where its program put it. A claim with room for it takes these steps:

1. one compare and swap of the document, from pending to running, which also notes our token and our lease in it: so it
   has one winner, whoever else claims documents here, and however;
2. the record in our own collection is made from it, or what was known of it becomes running: from then on it is a job
   like any other, but for where it waits (`claims` never has it from a lane) and for what `outlet` does.

Who dies between the two leaves a document that runs without a record; once its lease is over a sweep makes the record
again, and it is a lapsed run like any other. A document that asks for what cannot be had becomes failed, and says why.
"""

import os
from collections.abc import Sequence

import msgspec
from bson import ObjectId
from bson.errors import InvalidId
from msgspec import Struct
from msgspec.structs import replace

from pumasi.broker.mongodb import classic, documents, jobs, outlet, wording
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.classic import PENDING, RUNNING, Entry
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.together import together
from pumasi.broker.store import Claim
from pumasi.core import lifecycle
from pumasi.core.job import Job, State, Worker
from pumasi.errors import Invalid

#: documents that are looked at first: those of the earliest date, where what is no date is, too
_FRONT = 8
#: documents beside as many as there are slots: for others will win some of them
_SPARE = 8
#: how often one that changes under our hands is looked at again
_TRIES = 5

_worker = msgspec.json.Decoder(Worker)


class Waiting(Struct, frozen=True):
    """What waits: documents that can be had, oldest first; or when the next one falls due."""

    entries: tuple[Entry, ...] = ()
    next_at: float | None = None


NOTHING = Waiting()


async def look(db: Database, memory: int, slots: int, now: float) -> Waiting:
    """Documents that are due and need no more memory. One round trip when there is none."""
    while True:
        front = await _find(db, {}, "scheduled_date", _FRONT)
        entries = await _readable(db, front, now)
        if len(entries) == len(front):
            break
    if not entries:
        return NOTHING
    if entries[0].due > now and all(map(classic.is_dated, front)):
        return Waiting(next_at=entries[0].due)
    found = await _find(db, _to_be_had(memory, now), "created_at", slots + _SPARE)
    known = {entry.id: entry for entry in [*entries, *await _readable(db, found, now)]}
    fitting = [entry for entry in known.values() if entry.due <= now and entry.job.required_memory <= memory]
    if fitting:
        return Waiting(tuple(sorted(fitting, key=lambda entry: (entry.created, entry.id))))
    later = await _find(db, {"scheduled_date": {"$gt": classic.date(now)}}, "scheduled_date", 1)
    times = [entry.due for entry in [*entries, *await _readable(db, later, now)] if entry.due > now]
    return Waiting(next_at=min(times, default=None))


def _to_be_had(memory: int, now: float) -> Document:
    free = memory / classic.MB
    fits: list[Document] = [{"required_memory": {"$lte": free}}]
    if free >= classic.MEMORY:
        fits.append({"required_memory": None})
    due = [{"scheduled_date": {"$lte": classic.date(now)}}, {"scheduled_date": None}]
    return {"$and": [{"$or": due}, {"$or": fits}]}


async def _find(db: Database, condition: Document, order: str, most: int) -> list[Document]:
    query = {"status": {"$eq": PENDING}, **condition}
    return await db.classic.find(query, dict.fromkeys(classic.FIELDS, 1)).sort([(order, 1)]).limit(most).to_list()


async def _readable(db: Database, found: Sequence[Document], now: float) -> list[Entry]:
    """What they ask for; those that cannot be read are refused."""
    entries = []
    for document in found:
        try:
            entries.append(classic.entry(document, now))
        except Invalid as error:
            await documents.refuse(db, document, {"status": {"$eq": PENDING}}, error, now)
    return entries


# -- won ----------------------------------------------------------------------------------------------------------


async def win(db: Database, claim: Claim, entries: Sequence[Entry], tokens: Sequence[str], now: float) -> list[Job]:
    """Those that nobody else was faster for, as jobs that run."""
    pid = await _pid(db, claim.worker)
    async with db.board.flight(len(entries)) as flight:
        numbered = zip(entries, tokens, flight.numbers, strict=False)
        won = await together(_win(db, claim, entry, token, change, pid, now) for entry, token, change in numbered)
    return [job for job in won if job is not None]


async def _win(db: Database, claim: Claim, entry: Entry, token: str, change: int, pid: int, now: float) -> Job | None:
    lease = {"token": token, "worker": claim.worker, "lease_until": now + claim.lease}
    mark = {"job": entry.id, "ended": entry.ended, "attempt": entry.attempt + 1, **lease}
    same = {
        "_id": {"$eq": entry.key},
        "status": {"$eq": PENDING},
        "required_memory": entry.memory,
    }
    sets = {"status": RUNNING, "pumasi": mark}
    found = await documents.write(db, same, sets, wording.picked_up(pid, now))
    if found is None:
        return None
    mine = {"status": {"$eq": RUNNING}, "pumasi.token": {"$eq": token}}
    try:
        taken = replace(classic.entry(found, now), ended=entry.ended, attempt=entry.attempt)
    except Invalid as error:  # it was changed in this moment
        await documents.refuse(db, found, mine, error, now)
        return None
    return await _recorded(db, claim, taken, token, change, now)


async def _pid(db: Database, worker: str) -> int:
    """The process of a worker; one that has not said is taken to be here."""
    if worker not in db.pids:
        found = await db.workers.find_one({"_id": worker})
        if found is None:
            return os.getpid()
        db.remember(db.pids, worker, _worker.decode(found["record"]).pid)
    return db.pids[worker]


async def _recorded(db: Database, claim: Claim, entry: Entry, token: str, change: int, now: float) -> Job | None:
    """The record of a document that this claim has won; None when it is not to be run after all."""
    for _ in range(_TRIES):
        known = await db.jobs.find_one({"_id": entry.id})
        job = documents.first(entry, now) if known is None else jobs.record(known)
        if known is not None and known.get("document") != classic.packed(entry.key):
            error = Invalid("another job has the id {id}", id=entry.id)
            await documents.refuse(db, {"_id": entry.key}, {"pumasi.token": {"$eq": token}}, error, now)
            return None
        if job.state is State.RUNNING:
            await _give_back_to(db, entry, token, job)
            return None
        if job.ended:
            if known is not None and "untold" in known:
                await outlet.tell_one(db, entry.id, given_up=token)
                return None
            entry = await _again(db, entry, token)
            continue
        after = lifecycle.claimed(
            job, worker=claim.worker, claim_id=claim.claim_id, token=token, now=now, lease=claim.lease
        )
        after = replace(after, revision=job.revision + 1, change=change)
        stored = await (documents.insert(db, entry, after) if known is None else jobs.claim(db, job, after))
        if stored is not None:
            return stored
    return None


async def _give_back_to(db: Database, entry: Entry, token: str, job: Job) -> None:
    """It runs already; somebody has set its document to pending meanwhile. It stays with whom it was."""
    mark = {
        "job": job.id,
        "ended": entry.ended,
        "attempt": job.attempt,
        "token": job.token,
        "worker": job.worker,
        "lease_until": job.lease_until,
    }
    same = {"_id": {"$eq": entry.key}, "pumasi.token": {"$eq": token}}
    await db.classic.update_one(same, {"$set": {"pumasi": mark}})


async def _again(db: Database, entry: Entry, token: str) -> Entry:
    """Its job has ended, and somebody has made it pending again, and taken away what was ours: it is another job."""
    ended = entry.ended + 1
    again = classic.job_id(entry.key, ended)
    same = {"_id": {"$eq": entry.key}, "pumasi.token": {"$eq": token}}
    await db.classic.update_one(same, {"$set": {"pumasi.job": again, "pumasi.ended": ended}})
    return replace(entry, id=again, ended=ended, attempt=0, job=replace(entry.job, id=again))


# -- asked for by id ----------------------------------------------------------------------------------------------


def may_be(id: str) -> bool:
    """Whether a document may be a job of this id."""
    return _key(id) is not None


async def note(db: Database, ids: Sequence[str]) -> bool:
    """Make records of documents that wait, and that somebody asks for by the id of their job; whether there are any."""
    keys = [key for id in ids if (key := _key(id)) is not None]
    found = await _find(db, {"_id": {"$in": keys}}, "_id", len(keys))
    now = db.clock.now()
    entries = [entry for entry in await _readable(db, found, now) if entry.id in ids]
    if not entries:
        return False
    async with db.board.flight(len(entries)) as flight:
        for entry, change in zip(entries, flight.numbers, strict=True):
            await documents.insert(db, entry, replace(documents.first(entry, now), revision=1, change=change))
    return True


def _key(id: str) -> ObjectId | None:
    try:
        return ObjectId(id.partition("-")[0])
    except InvalidId:
        return None
