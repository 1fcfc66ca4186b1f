"""Lanes: what a claim chooses among, so that its cost does not grow with the jobs that wait.

Pending jobs alike in queue, priority, memory, keyed limit and share are in one lane, in order of (due time, id): a
claim may have all of a lane, from its front, or none. The jobs themselves say to which lane they belong, and an index
on (lane, turn) gives a lane's first; a lane's own document says only when it is worth looking into:

    {_id, queue, urgency, memory, limit, limit_key, share,
     head: no job of it is due before, at: not to be looked into before, touched_at, opened}

Both times may be too early, which costs a look, but never too late, which would hide a job:

- Before a job becomes pending, its lane is *touched*: `head` and `at` are lowered to its due time, `touched_at` is now.
- Only who has looked into a lane raises them, to the first job that is left, or to NEVER; and only when the last touch
  is more than OVER seconds ago: so a job announced by a touch has come by then, or never will. The condition stands in
  the update itself. A process that has touched a lane need not do so again for a few seconds.
- Who finds the key of a lane's limit taken *closes* the lane: `at` is when the key may be free by what is known, at the
  latest after OVER seconds. Who frees a key *opens* its lanes: `at` is now, `opened` one more. Closing compares
  `opened`, so an opening between looking and closing is not lost; one lost by a crash is made up for when the time of
  the closing is over.

A lane that nobody has touched for an hour and that is empty is removed by `purge`, after a last look for jobs in it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database, among
from pumasi.broker.mongodb.times import NEVER, OVER
from pumasi.core.bounds import MAX_INTEGER
from pumasi.core.job import Job, KeyLimit

#: lanes that one claim looks at, at most, those of the highest priority and the longest wait
MOST = 1000
#: seconds for which a touch by this process stands
_STANDS = 5.0
#: seconds after which an empty lane is removed
KEEP = 3600.0

_encode = msgspec.json.Encoder().encode
_limit = msgspec.json.Decoder(KeyLimit)


class Lane(Struct, frozen=True):
    """What is known of a lane."""

    id: str
    queue: str
    priority: int
    memory: int
    limit: KeyLimit | None
    share: str
    #: no job of it is due before
    head: float
    #: how often it was opened
    opened: int
    touched_at: float


def lane_id(job: Job) -> str:
    """The lane of a pending job."""
    keyed = _encode(job.limit) if job.limit else b""
    alike = (job.queue, job.priority, job.required_memory, keyed.decode(), job.share)
    return hashlib.sha256(_encode(alike)).hexdigest()[:32]


def limit_key(limit: KeyLimit | None) -> str | None:
    """A key, as documents name it."""
    return None if limit is None else hashed(limit.key)


def hashed(text: str) -> str:
    """A name of bounded length for any text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _lane(found: Document) -> Lane:
    return Lane(
        id=found["_id"],
        queue=found["queue"],
        priority=-found["urgency"],
        memory=found["memory"],
        limit=_limit.decode(found["limit"]) if found["limit"] else None,
        share=found["share"],
        head=found["head"],
        opened=found["opened"],
        touched_at=found["touched_at"],
    )


# -- before a job waits -------------------------------------------------------------------------------------------


async def touch(db: Database, jobs: Iterable[Job]) -> None:
    """Announce that these jobs are about to wait."""
    now = db.clock.now()
    first: dict[str, Job] = {}
    for job in jobs:
        lane = lane_id(job)
        if lane not in first or job.run_at < first[lane].run_at:
            first[lane] = job
    due = {lane: job for lane, job in first.items() if not _stands(db, lane, job.run_at, now)}
    if not due:
        return
    await _write(db, [_touching(lane, job, now) for lane, job in due.items()])
    for lane, job in due.items():
        db.remember(db.touched, lane, (now, job.run_at))


def _stands(db: Database, lane: str, run_at: float, now: float) -> bool:
    at, earliest = db.touched.get(lane, (-NEVER, 0.0))
    return 0.0 <= now - at < _STANDS and run_at >= earliest


def _touching(lane: str, job: Job, now: float) -> UpdateOne:
    known = {
        "queue": job.queue,
        "urgency": -job.priority,
        "memory": job.required_memory,
        "limit": _encode(job.limit).decode() if job.limit else "",
        "share": job.share,
        "opened": 0,
    }
    if job.limit is not None:
        known["limit_key"] = limit_key(job.limit)
    due = float(job.run_at)
    update = {"$min": {"head": due, "at": due}, "$max": {"touched_at": now}, "$setOnInsert": known}
    return UpdateOne({"_id": lane}, update, upsert=True)


async def _write(db: Database, touching: list[UpdateOne]) -> None:
    """Two who make the same lane at once may collide: then it is there, and is touched again."""
    try:
        await db.lanes.bulk_write(touching, ordered=False)
    except (BulkWriteError, DuplicateKeyError) as error:
        if isinstance(error, BulkWriteError) and any(bad["code"] != 11000 for bad in error.details["writeErrors"]):
            raise
        await db.lanes.bulk_write(touching, ordered=False)


# -- for a claim --------------------------------------------------------------------------------------------------


async def ready(db: Database, queues: Sequence[str], memory: int, now: float) -> list[Lane]:
    """The lanes of these queues that are worth looking into, the most urgent first."""
    query = {"queue": among(queues), "at": {"$lte": now}, "memory": {"$lte": min(memory, MAX_INTEGER)}}
    return [_lane(found) for found in await db.lanes.find(query).sort([("urgency", 1), ("head", 1)]).to_list(MOST)]


async def next_at(db: Database, queues: Sequence[str], now: float) -> float | None:
    """When the next lane of these queues is worth looking into."""
    query = {"queue": among(queues), "at": {"$gt": now, "$lt": NEVER}}
    found = await db.lanes.find(query).sort([("at", 1)]).limit(1).to_list()
    return found[0]["at"] if found else None


async def raise_head(db: Database, lane: Lane, head: float | None) -> None:
    """Nothing of a lane is due before `head` (None: nothing waits in it)."""
    past = db.clock.past()
    if lane.touched_at > past or db.clock.calm():
        return
    until = NEVER if head is None else float(head)
    same = {"_id": lane.id, "touched_at": {"$lte": past}, "opened": {"$eq": lane.opened}}
    await db.lanes.update_one(same, {"$set": {"head": until, "at": until}})


async def close(db: Database, lane: Lane, until: float | None, now: float) -> None:
    """The key of a lane is taken, until then as far as is known."""
    at = now + OVER if until is None else min(until, now + OVER)
    await db.lanes.update_one({"_id": lane.id, "opened": {"$eq": lane.opened}}, {"$set": {"at": at}})


async def open_all(db: Database, keys: Iterable[str]) -> None:
    """A run under each of these keys is over."""
    for key in sorted(set(keys)):
        change: dict[str, Any] = {"$min": {"at": db.clock.now()}, "$inc": {"opened": 1}}
        await db.lanes.update_many({"limit_key": {"$eq": hashed(key)}}, change)


# -- tidying ------------------------------------------------------------------------------------------------------


async def forget(db: Database, now: float) -> None:
    """Remove lanes that have long been empty; one that is not, for whatever reason, is opened."""
    stale = {"touched_at": {"$lt": now - KEEP}, "at": {"$gte": NEVER}}
    for found in await db.lanes.find(stale).to_list(MOST):
        waits = {"lane": {"$eq": found["_id"]}, "state": {"$eq": "pending"}}
        same = {"_id": found["_id"], "touched_at": {"$eq": found["touched_at"]}}
        if await db.jobs.find_one(waits, {"_id": 1}) is None:
            await db.lanes.delete_one(same)
        else:
            await db.lanes.update_one(same, {"$set": {"head": 0.0, "at": 0.0}})
