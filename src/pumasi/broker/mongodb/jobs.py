"""Records of jobs: as documents, out, compared and swapped."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from bson import Binary
from msgspec.structs import replace
from pymongo import ReturnDocument

from pumasi.broker.mongodb import classic, lanes
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database, some_of
from pumasi.broker.mongodb.times import NEVER, Stopwatch
from pumasi.broker.mongodb.together import together
from pumasi.core.job import Job, Progress, State

#: the state of a job whose batch is not accepted yet: to all but `batches` there is no such job
STAGED = "staged"
#: steps that one call has under way at a time
SIDE_BY_SIDE = 16

_encode = msgspec.json.Encoder().encode
_job = msgspec.json.Decoder(Job)
_progress = msgspec.json.Decoder(Progress)

#: fields of a document that are right where the text of its record says something else
_OVER = ("attempt", "worker", "claim_id", "token", "lease_until", "claimed_at", "started_at", "run_at", "created_at")


def record(document: Document) -> Job:
    """The record that a document means."""
    return overruled(_job.decode(document["record"]), document)


def overruled(job: Job, document: Mapping[str, Any]) -> Job:
    """A record as the fields of its document have it."""
    told = document.get("progress")
    return replace(
        job,
        **{name: document.get(name) for name in _OVER},
        state=State(document["state"]),
        cancel_requested=bool(document["cancel_requested"]),
        progress=None if told is None else _progress.decode(told),
        revision=document["revision"],
        change=document["change"],
    )


def document(job: Job) -> Document:
    """A record as it is first stored."""
    fixed = {
        "_id": job.id,
        "id": job.id,
        "queue": job.queue,
        "script": job.script,
        "memory": job.required_memory,
        "share": job.share,
        "created_at": float(job.created_at),
        "born": moment(job.created_at) + job.id,
        "log_bytes": 0,
        "log_parts": 0,
        "digest": job.digest,
        "parent": job.parent,
        "limit_key": lanes.limit_key(job.limit),
        "labels": [label(name, value) for name, value in job.labels.items()] or None,
        "started_at": job.started_at,
        "progress": None if job.progress is None else _encode(job.progress).decode(),
    }
    return {name: value for name, value in (fixed | standing(job)).items() if value is not None}


def standing(job: Job) -> Document:
    """The fields that change with a job's state; None for those that its document lacks. What take, extend and append
    alone may say (`started_at`, `progress`) is not among them."""
    waits, runs = job.state is State.PENDING, job.state is State.RUNNING
    when = job.run_at if waits else job.lease_until if runs else job.ended_at
    return {
        "state": job.state.value,
        "kind": f"{job.state.value}|{job.cause or ''}|{job.script}",
        "when": float(when or 0.0),
        "run_at": float(job.run_at),
        "expires_at": NEVER if job.expires_at is None else float(job.expires_at),
        "deadline": (job.expires_at if waits else job.lease_until) if waits or runs else None,
        "ended_at": job.ended_at,
        "dead": 1 if job.dead else None,
        "lane": lanes.lane_id(job) if waits else None,
        "turn": moment(job.run_at) + job.id if waits else None,
        "worker": job.worker,
        "claim_id": job.claim_id,
        "token": job.token,
        "attempt": job.attempt,
        "lease_until": job.lease_until,
        "claimed_at": job.claimed_at,
        "cancel_requested": job.cancel_requested,
        "revision": job.revision,
        "change": job.change,
        "record": Binary(_encode(job)),
    }


def update(fields: Mapping[str, Any]) -> Document:
    """An update that sets these fields, and takes away those that are None."""
    changes: Document = {"$set": {name: value for name, value in fields.items() if value is not None}}
    if gone := [name for name, value in fields.items() if value is None]:
        changes["$unset"] = dict.fromkeys(gone, "")
    return changes


def moment(at: float) -> str:
    """A time, as a text that sorts as times do."""
    return struct.pack(">d", max(0.0, at)).hex()


def label(name: str, value: str) -> str:
    """A label, as one text."""
    return f"{len(name)}:{name}{value}"


# -- compare and swap ---------------------------------------------------------------------------------------------


async def swap(db: Database, pairs: Sequence[tuple[Job, Job]], *, same_lease: bool) -> list[Job | None]:
    """Each new record, where the old one still stands."""
    if not pairs:
        return []
    watch = Stopwatch()
    back = [new for _, new in pairs if new.state is State.PENDING]
    if back:
        await lanes.touch(db, back)
    stored: list[Job | None] = []
    async with db.board.flight(len(pairs)) as flight:
        numbered = list(zip(pairs, flight.numbers, strict=True))
        for some in some_of(numbered, SIDE_BY_SIDE):
            watch.in_time()
            stored += await together(_swap(db, old, new, change, same_lease, watch) for (old, new), change in some)
        # in flight still: who sees that nothing has changed since must see the lanes open
        await lanes.open_all(db, _freed(pairs, stored))
    return stored


def _freed(pairs: Sequence[tuple[Job, Job]], stored: Sequence[Job | None]) -> set[str]:
    """The keys under which a run is over."""
    return {
        old.limit.key
        for (old, _), new in zip(pairs, stored, strict=True)
        if new is not None and old.limit is not None and old.state is State.RUNNING and new.state is not State.RUNNING
    }


async def _swap(db: Database, old: Job, new: Job, change: int, same_lease: bool, watch: Stopwatch) -> Job | None:
    """One of them. When a run began is told by its first teller: here only if nobody has yet."""
    new = replace(new, revision=old.revision + 1, change=change)
    same: Document = {"_id": old.id, "revision": {"$eq": old.revision}}
    if same_lease:
        same["lease_until"] = old.lease_until
    fields = standing(new)
    if classic.may_be(new) and new.state is not State.RUNNING:
        fields["untold"] = 1
    if old.started_at is None and new.started_at is not None:
        first = {**same, "started_at": None}
        if stored := await _write(db, first, {**fields, "started_at": new.started_at}, new):
            return stored
        watch.in_time()
    return await _write(db, same, fields, new)


async def claim(db: Database, old: Job, new: Job) -> Job | None:
    """One that waits as it is, and runs as it is to be; what its last run has told of itself is forgotten."""
    same = {"_id": old.id, "revision": {"$eq": old.revision}, "state": {"$eq": "pending"}}
    return await _write(db, same, {**standing(new), "started_at": None, "progress": None, "untold": None}, new)


async def _write(db: Database, same: Document, fields: Document, new: Job) -> Job | None:
    found = await db.jobs.find_one_and_update(
        same, update(fields), projection={"record": 0}, return_document=ReturnDocument.AFTER
    )
    return None if found is None else overruled(new, found)
