"""What is kept beside the jobs, and for how long."""

from collections.abc import Mapping

import msgspec

from pumasi.broker.mongodb import blobs, classic, gates, lanes, logs, mending, staging
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database
from pumasi.core.job import Queue, State, Worker

#: jobs that one step forgets
FORGOTTEN = 100

_worker = msgspec.json.Decoder(Worker)


async def forget_jobs(db: Database, before: Mapping[State, float]) -> int:
    """Forget some jobs that ended before, with all that hangs on them; how many. The job's own document goes last: who
    is interrupted is continued by the next."""
    gone: list[str] = []
    for state, at in before.items():
        query = {"ended_at": {"$lt": at}, "state": {"$eq": state.value}, "untold": None}
        found = await db.jobs.find(query, {"_id": 1}).limit(FORGOTTEN - len(gone)).to_list()
        gone += [job["_id"] for job in found]
        if len(gone) == FORGOTTEN:
            break
    if gone:
        await db.keys.delete_many({"job": {"$in": gone}})
        await logs.forget(db, gone)
        await blobs.forget_of(db, gone)
        await db.jobs.delete_many({"_id": {"$in": gone}})
    return len(gone)


async def forget_rest(db: Database, strays_before: float, scripts_before: float, workers_before: float) -> None:
    """Forget silent workers, blobs that nobody needs, and bookkeeping that has become empty."""
    now = db.clock.now()
    await db.workers.delete_many({"seen_at": {"$lt": workers_before}})
    await blobs.forget_rest(db, strays_before, scripts_before, now)
    await lanes.forget(db, now)
    await gates.forget(db, now)
    await staging.forget(db, now)
    await mending.check(db)


async def queues(db: Database) -> list[Queue]:
    """As `Store.queues`."""
    now = db.clock.now()
    sight = await db.board.look()
    pending = await _grouped(db, {"state": {"$eq": "pending"}})
    later = await _grouped(db, {"state": {"$eq": "pending"}, "when": {"$gt": now}})
    running = await _grouped(db, {"state": {"$eq": "running"}})
    holding = await db.jobs.distinct("queue", {"state": {"$ne": "staged"}})
    if documents := await mending.waiting(db):
        waiting, first = pending.get(classic.QUEUE, (0, now))
        pending[classic.QUEUE] = (waiting + documents, first)
        holding.append(classic.QUEUE)
    found = []
    for name in sorted({*holding, *sight.queues}):
        rules = sight.rules(name)
        waiting, first = pending.get(name, (0, now))
        found.append(
            Queue(
                name=name,
                paused=rules.paused,
                max_pending=rules.max_pending,
                ageing=rules.ageing,
                fair=rules.fair,
                pending=waiting,
                due=waiting - later.get(name, (0, now))[0],
                running=running.get(name, (0, now))[0],
                oldest_age=max(0.0, now - first),
            )
        )
    return found


async def _grouped(db: Database, query: Document) -> dict[str, tuple[int, float]]:
    """By queue, how many jobs match, and the earliest of their times."""
    steps = [
        {"$match": query},
        {"$group": {"_id": "$queue", "n": {"$sum": 1}, "first": {"$min": "$when"}}},
    ]
    return {group["_id"]: (group["n"], group["first"]) async for group in await db.jobs.aggregate(steps)}


async def counts(db: Database) -> list[tuple[str, str, str, int]]:
    """As `Store.counts`."""
    steps: list[Document] = [
        {"$match": {"kind": {"$gt": ""}, "state": {"$ne": "staged"}}},
        {"$group": {"_id": "$kind", "n": {"$sum": 1}}},
    ]
    found = []
    async for group in await db.jobs.aggregate(steps):
        state, cause, script = group["_id"].split("|", 2)
        found.append((state, script, cause, group["n"]))
    return sorted(found)


async def workers(db: Database) -> list[Worker]:
    """As `Store.workers`."""
    return [_worker.decode(found["record"]) async for found in db.workers.find({}).sort([("_id", 1)])]
