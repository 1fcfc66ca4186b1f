"""Jobs: in, compared and swapped."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from pumasi.broker.postgres.connection import Row
from pumasi.broker.postgres.pool import Pool
from pumasi.broker.postgres.records import (
    decoded_progress,
    digest,
    digest_or_none,
    encode,
    key_of,
    lanes,
    record,
    shown,
)
from pumasi.broker.store import Inserted
from pumasi.core import lifecycle
from pumasi.core.job import Job, Record
from pumasi.errors import Conflict

#: columns of an answer before those of the record
_OF_INSERT = 5


async def load(pool: Pool, ids: Sequence[str]) -> list[Job | None]:
    """As `Store.load`."""
    if not ids:
        return []
    found = {job.id: job for job in map(record, await pool.ask("load", {"ids": list(ids)}))}
    return [found.get(id) for id in ids]


# -- in -----------------------------------------------------------------------------------------------------------


async def insert(
    pool: Pool, asked: Sequence[Job], max_pending: int, now: float | None
) -> tuple[Inserted, float | None]:
    """As `Store.insert`, and the server's time."""
    if not asked:
        return Inserted(), None
    # created_at and run_at are for the server to say
    jobs = [replace(lifecycle.submitted(job, 0.0), revision=1) for job in asked]
    keyed = any(job.unique is not None or job.idempotency_key is not None for job in jobs)
    if not keyed:
        jobs = list({job.id: job for job in reversed(jobs)}.values())[::-1]
    rows = await pool.ask("insert", _asked(jobs) | {"now": now, "max_pending": max_pending, "keyed": keyed})
    return _inserted(asked, jobs, rows), rows[0][4]


def _asked(jobs: Sequence[Job]) -> dict[str, Any]:
    coming: dict[str, int] = {}
    for job in jobs:
        coming[job.queue] = coming.get(job.queue, 0) + 1
    return _columns(jobs) | {
        "queue_names": list(coming),
        "coming": list(coming.values()),
        "run_ats": [job.run_at or None for job in jobs],
    }


def _columns(jobs: Sequence[Job]) -> dict[str, Any]:
    labels = [(n, digest("label", *label)) for n, job in enumerate(jobs, start=1) for label in job.labels.items()]
    return lanes(jobs) | {
        "ids": [job.id for job in jobs],
        "queues": [job.queue for job in jobs],
        "scripts": [shown(job.script) for job in jobs],
        "expires": [job.expires_at for job in jobs],
        "digests": [digest_or_none("digest", job.digest) for job in jobs],
        "parents": [digest_or_none("parent", job.parent) for job in jobs],
        "uniques": [digest_or_none("unique", job.unique) for job in jobs],
        "idempotency": [digest_or_none("idempotency", job.idempotency_key) for job in jobs],
        "hashes": [shown(job.body_hash) if _has_key(job) else None for job in jobs],
        "records": [encode(job) for job in jobs],
        "label_jobs": [n for n, _ in labels],
        "labels": [label for _, label in labels],
    }


def _has_key(job: Job) -> bool:
    return job.unique is not None or job.idempotency_key is not None


def _inserted(asked: Sequence[Job], jobs: Sequence[Job], rows: Sequence[Row]) -> Inserted:
    kind, place, detail, bound, _ = rows[0][:_OF_INSERT]
    if kind == "full":
        return Inserted(full=(detail, bound))
    if kind == "conflict":
        key = jobs[place - 1].unique if detail == "unique" else jobs[place - 1].idempotency_key
        holder = jobs[bound - 1] if bound else record(rows[0][_OF_INSERT:])
        return Inserted(conflict=(key or "", holder))
    answers = [_answer(job, row) for job, row in zip(jobs, rows, strict=True)]
    fresh = frozenset(answer.id for answer, row in zip(answers, rows, strict=True) if row[0] == "fresh")
    by_id = {job.id: answer for job, answer in zip(jobs, answers, strict=True)}
    if len(jobs) == len(asked):
        return Inserted(tuple(answers), fresh)
    return Inserted(tuple(by_id[job.id] for job in asked), fresh)


def _answer(job: Job, row: Row) -> Job:
    if row[0] != "fresh":
        return record(row[_OF_INSERT:])
    return replace(job, created_at=row[4], run_at=job.run_at or row[4], revision=1, change=row[-1])


async def adopt(pool: Pool, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
    """As `Store.adopt`."""
    if not entries:
        return 0
    jobs = [job for job, _ in entries]
    logs = [(n, entry) for n, (_, records) in enumerate(entries, start=1) for entry in records]
    values = (
        _columns(jobs)
        | _standing(jobs)
        | {
            "created_ats": [job.created_at for job in jobs],
            "progress": [None if job.progress is None else encode(job.progress) for job in jobs],
            "log_jobs": [n for n, _ in logs],
            "log_seqs": [entry.seq for _, entry in logs],
            "log_ats": [entry.time for _, entry in logs],
            "log_streams": [shown(entry.stream) for _, entry in logs],
            "log_data": [entry.data for _, entry in logs],
        }
    )
    ((new, conflict, kind, holder),) = await pool.ask("adopt", values)
    if conflict:
        key = jobs[conflict - 1].unique if kind == "unique" else jobs[conflict - 1].idempotency_key
        raise Conflict(key=key, id=holder)
    return int(new)


def _standing(jobs: Sequence[Job]) -> dict[str, Any]:
    """Where jobs stand, as arrays."""
    return {
        "states": [job.state.value for job in jobs],
        "causes": [job.cause.value if job.cause else "" for job in jobs],
        "dead": [job.dead for job in jobs],
        "run_ats": [job.run_at for job in jobs],
        "started_ats": [job.started_at for job in jobs],
        "ended_ats": [job.ended_at for job in jobs],
        "attempts": [job.attempt for job in jobs],
    }


# -- compare and swap ---------------------------------------------------------------------------------------------


async def swap(pool: Pool, pairs: Sequence[tuple[Job, Job]], *, same_lease: bool) -> list[Job | None]:
    """As `Store.swap` and `Store.settle`."""
    if not pairs:
        return []
    # rows are locked in order of id, whoever swaps
    order = sorted(range(len(pairs)), key=lambda n: pairs[n][0].id)
    rows = await pool.ask("swap", _pairs([pairs[n] for n in order]) | {"same_lease": same_lease})
    stored: list[Job | None] = [None] * len(pairs)
    for place, started_at, progress, revision, change in rows:
        n = order[place - 1]
        stored[n] = replace(
            pairs[n][1],
            started_at=started_at,
            progress=decoded_progress(progress),
            revision=revision,
            change=change,
        )
    return stored


def _pairs(pairs: Sequence[tuple[Job, Job]]) -> dict[str, Any]:
    old = [before for before, _ in pairs]
    new = [after for _, after in pairs]
    return (
        lanes(new)
        | _standing(new)
        | {
            "ids": [job.id for job in old],
            "old_states": [job.state.value for job in old],
            "revisions": [job.revision for job in old],
            "old_leases": [job.lease_until for job in old],
            "cancels": [job.cancel_requested for job in new],
            "records": [encode(job) for job in new],
            "expires": [job.expires_at for job in new],
            "job_keys": [key_of(job.limit) if job.limit else None for job in new],
        }
    )
