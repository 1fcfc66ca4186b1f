"""Jobs taken in: all of a batch, or none.

One job is stored by one insert: that accepts it. Several are accepted by one document, in these steps:

1. see which are known, and who holds their keys (`keys`);
2. take change numbers and the time, touch their lanes, see whether their queues have room;
3. take their keys; store them as `staged`: no verb sees such a job;
4. insert `{_id: batch, accepted: true}`: **this accepts the batch**;
5. touch their lanes again if that was long ago, turn all of the batch from staged to what they are to be; remove the
   document.

What a submitter that died has left, others bring to its end (`staging`).

How many wait in a queue is counted in an index, and remembered together with the change number of that moment: as no
job comes without a number, the queue has certainly room while the numbers taken since would fit in, too. So it is
counted anew only when a queue is nearly full. Submits that are under way side by side do not see each other: together
they may fill a queue by as many jobs more.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace
from pymongo.errors import DuplicateKeyError

from pumasi.broker.mongodb import jobs, keys, lanes, staging
from pumasi.broker.mongodb.board import Document, Flight
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.jobs import STAGED
from pumasi.broker.mongodb.keys import Holding, Key
from pumasi.broker.mongodb.times import Stopwatch
from pumasi.broker.store import Inserted
from pumasi.core import lifecycle
from pumasi.core.job import Job, Record, State
from pumasi.errors import Conflict, Unavailable

#: seconds for which a submit waits for another one that has to do with the same jobs or keys
PATIENCE = 5.0
#: the time of what is stamped in its flight
_LATER = 0.0
_PAUSE = 0.005
_PAUSE_AT_MOST = 0.2


async def insert(db: Database, asked: Sequence[Job], max_pending: int) -> Inserted:
    """As `Store.insert`."""
    until, pause = time.monotonic() + PATIENCE, _PAUSE
    while True:
        alone = len(asked) == 1 and not keys.keys_of(asked[0])
        done = await (_insert_one(db, asked[0], max_pending) if alone else _insert_all(db, asked, max_pending))
        if done is not None:
            return done
        pause = await _wait(until, pause)


async def adopt(db: Database, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
    """As `Store.adopt`."""
    until, pause = time.monotonic() + PATIENCE, _PAUSE
    while True:
        done = await _adopt(db, entries)
        if done is not None:
            return done
        pause = await _wait(until, pause)


async def load(db: Database, ids: Sequence[str]) -> list[Job | None]:
    """The records, None where there is none."""
    found = {job["_id"]: job for job in await _find(db, ids)}
    if await staging.settle_staged(db, list(found.values())):
        found = {job["_id"]: job for job in await _find(db, ids)}
    known = {id: jobs.record(job) for id, job in found.items() if job["state"] != STAGED}
    return [known.get(id) for id in ids]


async def _find(db: Database, ids: Sequence[str]) -> list[Document]:
    wanted = sorted(set(ids))
    if len(wanted) == 1:
        found = await db.jobs.find_one({"_id": wanted[0]})
        return [] if found is None else [found]
    return await db.jobs.find({"_id": {"$in": wanted}}).to_list() if wanted else []


async def _wait(until: float, pause: float) -> float:
    """Let another submit come to its end; how long to wait the next time."""
    if time.monotonic() > until:
        raise Unavailable("another submit of the same job or key has not come to its end; try again in half a minute")
    await asyncio.sleep(pause * random.uniform(0.5, 1.0))
    return min(2 * pause, _PAUSE_AT_MOST)


# -- one ----------------------------------------------------------------------------------------------------------


async def _insert_one(db: Database, asked: Job, max_pending: int) -> Inserted | None:
    """One job without keys; None when another submit of this id is under way."""
    watch = Stopwatch()
    async with db.board.flight(1) as flight:
        job = lifecycle.submitted(asked, db.clock.now())
        await lanes.touch(db, [job])
        if full := await _overfull(db, flight, [job], max_pending):
            (known,) = await load(db, [job.id])
            return Inserted(full=full) if known is None else Inserted((known,))
        watch.in_time()
        job = replace(job, revision=1, change=flight.numbers[0])
        if await _put_one(db, job):
            return Inserted((job,), frozenset({job.id}))
    (known,) = await load(db, [job.id])
    return None if known is None else Inserted((known,))


async def _put_one(db: Database, job: Job) -> bool:
    try:
        await db.jobs.insert_one(jobs.document(job))
    except DuplicateKeyError:
        return False
    return True


async def _overfull(db: Database, flight: Flight, fresh: Iterable[Job], max_pending: int) -> tuple[str, int] | None:
    """A queue that has no room for these jobs, and its bound."""
    for queue, n in Counter(job.queue for job in fresh).items():
        bound = flight.sight.rules(queue).max_pending
        bound = max_pending if bound is None else bound
        counted, at = db.counted.get(queue, (bound, 0))
        if counted + (flight.sight.change - at) <= bound:
            continue
        waiting = await db.count({"queue": {"$eq": queue}, "state": {"$eq": "pending"}})
        db.remember(db.counted, queue, (waiting, flight.sight.change - len(flight.numbers)))
        if waiting + n > bound:
            return queue, bound
    return None


# -- several ------------------------------------------------------------------------------------------------------


class _Newcomers:
    """The jobs of a batch, told apart: those that are there already, and the fresh ones."""

    def __init__(self, known: Mapping[str, Job], holdings: Mapping[str, Holding], past: float) -> None:
        self._known = known
        self._holdings = holdings
        self._keys: dict[str, Job] = {}
        self._past = past
        #: another submit may be about to store a job that holds one of the keys
        self.unsure = False
        self.fresh: dict[str, Job] = {}
        self.answers: list[Job] = []

    def add(self, job: Job) -> tuple[str, Job] | None:
        """Take a job in; or the key that belongs to another request, and who holds it."""
        known = self._known.get(job.id) or self.fresh.get(job.id)
        if known is None and (held := self.holder(job)):
            key, known = held
            if known.body_hash != job.body_hash:
                return key, known
        if known is None:
            known = self.fresh[job.id] = job
            self._keys |= {key.id: known for key in keys.keys_of(job)}
        self.answers.append(known)
        return None

    def wanted(self) -> list[tuple[Key, Job]]:
        """The keys of the fresh ones."""
        return [(key, job) for job in self.fresh.values() for key in keys.keys_of(job)]

    def is_new(self, job: Job) -> bool:
        """Whether its id was not seen before."""
        return job.id not in self._known and job.id not in self.fresh

    def holder(self, job: Job) -> tuple[str, Job] | None:
        """The key of this job that another holds, and who."""
        for key in keys.keys_of(job):
            if (mine := self._keys.get(key.id)) is not None:
                return key.text, mine
            holding = self._holdings.get(key.id)
            if holding is None:
                continue
            if holding.holder is not None and key.held_by(holding.holder):
                return key.text, holding.holder
            self.unsure = self.unsure or keys.pending(holding, job.id, self._past)
        return None


async def _newcomers(db: Database, asked: Sequence[Job]) -> tuple[_Newcomers, dict[str, Holding]]:
    """What is known of the jobs and of their keys."""
    found = await load(db, [job.id for job in asked])
    known = {job.id: job for job in found if job is not None}
    documents = await keys.find(db, (key for job in asked if job.id not in known for key in keys.keys_of(job)))
    holders = await load(db, [key["job"] for key in documents.values()])
    holdings = {
        id: Holding(key["by"], key["at"], key["job"], holder)
        for (id, key), holder in zip(documents.items(), holders, strict=True)
    }
    return _Newcomers(known, holdings, db.clock.past()), holdings


async def _insert_all(db: Database, asked: Sequence[Job], max_pending: int) -> Inserted | None:
    """All of the jobs that are not there yet, or none; None when another submit stands in the way."""
    newcomers, holdings = await _newcomers(db, asked)
    for job in asked:
        if conflict := newcomers.add(lifecycle.submitted(job, _LATER)):
            return Inserted(conflict=conflict)
    if newcomers.unsure:
        return None
    if not newcomers.fresh:
        return Inserted(tuple(newcomers.answers))
    watch = Stopwatch()
    async with db.board.flight(len(newcomers.fresh)) as flight:
        now = db.clock.now()
        fresh = [lifecycle.submitted(job, now) for job in newcomers.fresh.values()]
        await lanes.touch(db, fresh)
        if full := await _overfull(db, flight, fresh, max_pending):
            return Inserted(full=full)
        stored = _numbered(fresh, flight)
        if not await _store(db, stored, {}, newcomers.wanted(), holdings, watch):
            return None
    by_id = {job.id: job for job in stored}
    return Inserted(tuple(by_id.get(job.id, job) for job in newcomers.answers), frozenset(by_id))


def _numbered(fresh: Sequence[Job], flight: Flight) -> list[Job]:
    return [replace(job, revision=1, change=change) for job, change in zip(fresh, flight.numbers, strict=True)]


async def _adopt(db: Database, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int | None:
    newcomers, holdings = await _newcomers(db, [job for job, _ in entries])
    for job, _ in entries:
        if newcomers.is_new(job) and (held := newcomers.holder(job)):
            raise Conflict(key=held[0], id=held[1].id)
        newcomers.add(job)
    if newcomers.unsure:
        return None
    fresh = list(newcomers.fresh.values())
    if not fresh:
        return 0
    watch = Stopwatch()
    log = {job.id: records for job, records in entries if job.id in newcomers.fresh and records}
    async with db.board.flight(len(fresh)) as flight:
        await lanes.touch(db, [job for job in fresh if job.state is State.PENDING])
        stored = await _store(db, _numbered(fresh, flight), log, newcomers.wanted(), holdings, watch)
    return len(fresh) if stored else None


async def _store(
    db: Database,
    fresh: Sequence[Job],
    log: Mapping[str, Sequence[Record]],
    wanted: Sequence[tuple[Key, Job]],
    holdings: Mapping[str, Holding],
    watch: Stopwatch,
) -> bool:
    """Store them, all or none; False when somebody else was faster with one of them or its keys."""
    batch = os.urandom(12).hex()
    now = db.clock.now()
    if wanted and not await keys.take(db, wanted, holdings, batch, now):
        return False
    watch.in_time()
    if len(fresh) == 1 and not log:
        stored = await _put_one(db, fresh[0])
    else:
        stored = await staging.stage(db, fresh, log, batch, now) and await staging.accept(db, fresh, batch, watch)
    if not stored and wanted:
        await keys.give_back(db, batch)
    return stored
