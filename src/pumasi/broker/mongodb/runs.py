"""Runs: their leases extended, and outlived."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pymongo import ReturnDocument, UpdateOne

from pumasi.broker.mongodb import jobs, mending, outlet
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.connection import Connection
from pumasi.broker.mongodb.database import Database, among
from pumasi.broker.mongodb.staging import settle_staged
from pumasi.broker.mongodb.times import seconds
from pumasi.broker.mongodb.together import together
from pumasi.broker.store import Extended
from pumasi.core import lifecycle
from pumasi.core.bounds import MAX_INTEGER
from pumasi.core.job import Held, Job, State, Worker


class Lapse(Struct, frozen=True):
    """Whether a lease has lapsed that this claim could have, else when the next one does."""

    lapsed: bool = False
    next_at: float | None = None


async def look(connection: Connection, db: Database, memory: int, queues: Sequence[str], now: float) -> Lapse:
    """As `Lapse` says, of these queues."""
    running = {"state": {"$eq": "running"}, "queue": among(queues)}
    first = await _earliest(db, running)
    if first is None or first > now:
        return Lapse(next_at=first)
    if db.clock.calm():
        return Lapse()
    # a lease is about to be taken from its owner: the time must be right
    now = await connection.sync(db)
    if db.clock.calm():
        return Lapse()
    fits = {**running, "when": {"$lte": now}, "memory": {"$lte": min(memory, MAX_INTEGER)}}
    if await db.jobs.find_one(fits, {"_id": 1}) is not None:
        return Lapse(lapsed=True)
    return Lapse(next_at=await _earliest(db, {**running, "when": {"$gt": now}}))


async def _earliest(db: Database, running: Document) -> float | None:
    found = await db.jobs.find(running, {"when": 1}).sort([("when", 1)]).limit(1).to_list()
    return found[0]["when"] if found else None


async def lapsed(
    connection: Connection, db: Database, queues: Sequence[str] | None, limit: int, memory: int | None
) -> list[Job]:
    """As `Store.lapsed`; without queues it also clears up after submits that did not come to their end."""
    now = db.clock.now()
    if queues is not None:
        return await _lapsed(connection, db, {"queue": among(queues)} if queues else {"queue": "\0"}, limit, memory)
    found = await db.jobs.find({"deadline": {"$lte": now}}).sort([("deadline", 1)]).limit(limit).to_list()
    await settle_staged(db, [job for job in found if job["state"] == jobs.STAGED])
    await mending.mend(db)
    if len(found) < limit:
        stale = [jobs.record(job) for job in found if job["state"] != jobs.STAGED]
        gone = [job for job in stale if lifecycle.expired(job, now)]
        lost = [job for job in stale if job.state is State.RUNNING]
        if lost and not db.clock.calm():
            now = await connection.sync(db)
        return gone + ([] if db.clock.calm() else [job for job in lost if lifecycle.lapsed(job, now)])
    waiting = {"state": {"$eq": "pending"}, "deadline": {"$lte": now}}
    expired = await db.jobs.find(waiting).sort([("deadline", 1)]).limit(limit).to_list()
    return [jobs.record(job) for job in expired] + await _lapsed(connection, db, {}, limit - len(expired), None)


async def _lapsed(connection: Connection, db: Database, where: Document, limit: int, memory: int | None) -> list[Job]:
    if limit <= 0 or db.clock.calm():
        return []
    now = await connection.sync(db)
    query = {"state": {"$eq": "running"}, **where, "when": {"$lte": now}}
    if memory is not None:
        query["memory"] = {"$lte": min(memory, MAX_INTEGER)}
    found = await db.jobs.find(query).sort([("when", 1)]).limit(limit).to_list()
    return [] if db.clock.calm() else [jobs.record(job) for job in found]


# -- extended -----------------------------------------------------------------------------------------------------


async def extend(db: Database, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
    """As `Store.extend`. The worker's own document is stamped with the server's time, which sets our clock."""
    now = db.clock.now()
    await together([_meet(db, worker, now), _prolong(db, leases, now, now + lease)])
    if not leases:
        return Extended()
    fields = {"token": 1, "state": 1, "cancel_requested": 1, "document": 1}
    found = await db.jobs.find({"_id": {"$in": [held.id for held in leases]}}, fields).to_list()
    known = {job["_id"]: job for job in found if job["state"] == "running"}
    lost = [held for held in leases if held.id not in known or known[held.id].get("token") != held.token]
    cancelled = [held for held in leases if held not in lost and known[held.id]["cancel_requested"]]
    still = [known[held.id] for held in leases if held not in lost]
    if documents := {job["document"]: job["token"] for job in still if "document" in job}:
        await outlet.prolong(db, documents, now + lease)
    return Extended(tuple(cancelled), tuple(lost))


async def _meet(db: Database, worker: Worker, now: float) -> None:
    if worker.status == "stopped":
        await db.workers.delete_one({"_id": worker.id})
        return
    record = msgspec.json.encode(replace(worker, seen_at=now)).decode()
    change = {"$set": {"record": record, "seen_at": now}, "$currentDate": {"stamp": True}}
    found = await db.workers.find_one_and_update(
        {"_id": worker.id}, change, {"stamp": 1}, upsert=True, return_document=ReturnDocument.AFTER
    )
    if found is not None:
        db.clock.heard(seconds(found["stamp"]))


async def _prolong(db: Database, leases: Sequence[Held], now: float, until: float) -> None:
    if not leases:
        return
    steps = []
    for held in leases:
        same = {"_id": held.id, "token": {"$eq": held.token}, "state": {"$eq": "running"}}
        steps.append(UpdateOne(same, {"$set": {"lease_until": until, "when": until, "deadline": until}}))
        if held.started:
            steps.append(UpdateOne({**same, "started_at": None}, {"$set": {"started_at": now}}))
    await db.jobs.bulk_write(steps, ordered=False)
