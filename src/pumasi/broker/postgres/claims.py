"""Leases: taken, extended, outlived."""

from collections.abc import Sequence

import psycopg
from msgspec.structs import replace

from pumasi.broker.postgres import gate
from pumasi.broker.postgres.pool import Pool
from pumasi.broker.postgres.records import digest, encode, key_of, record
from pumasi.broker.store import Claim, Extended, Taken
from pumasi.core.job import Held, Job, KeyLimit, Worker

#: columns of an answer before those of the record
_OF_TAKE = 3
#: how often a claim starts over because others are at the keys it meets, before it does without them
PATIENCE = 8


async def take(pool: Pool, claim: Claim, now: float | None, *, calm: bool) -> Taken:
    """As `Store.take`; when `calm`, lapsed leases are left to their owners."""
    values = {
        "now": now,
        "worker": claim.worker,
        "claim": digest("claim", claim.worker, claim.claim_id),
        "claim_id": claim.claim_id,
        "queues": list(claim.queues),
        "slots": claim.slots,
        "memory": min(claim.memory, 2**63 - 1),
        "lease": claim.lease,
        "tokens": list(claim.tokens),
        "calm": calm,
    }
    locks: list[int] = []
    while True:
        try:
            rows = await pool.ask("take", values | {"locks": locks, "patient": len(locks) < PATIENCE})
        except psycopg.Error as error:
            if error.sqlstate != gate.KEY_IS_HELD:
                raise
            locks.append(int(error.diag.message_detail or 0))
            continue
        moment, lapsed, next_at = rows[0][:_OF_TAKE]
        jobs = tuple(record(row[_OF_TAKE:]) for row in rows if row[_OF_TAKE] is not None)
        return Taken(jobs, lapsed=lapsed, next_at=next_at, now=moment)


async def lapsed(
    pool: Pool, queues: Sequence[str] | None, limit: int, memory: int | None, now: float | None, *, calm: bool
) -> list[Job]:
    """As `Store.lapsed`."""
    values = {
        "queues": None if queues is None else list(queues),
        "limit": limit,
        "memory": None if memory is None else min(memory, 2**63 - 1),
        "now": now,
        "calm": calm,
    }
    return [record(row) for row in await pool.ask("lapsed", values)]


async def extend(
    pool: Pool, worker: Worker, leases: Sequence[Held], lease: float, now: float | None, seen_at: float
) -> tuple[Extended, float]:
    """As `Store.extend`, and the server's time."""
    values = {
        "now": now,
        "hash": digest("worker", worker.id),
        "worker": worker.id,
        "record": encode(replace(worker, seen_at=seen_at)),
        "stopped": worker.status == "stopped",
        "ids": [held.id for held in leases],
        "tokens": [held.token for held in leases],
        "started": [held.started for held in leases],
        "lease": lease,
    }
    (moment, _, _), *rows = await pool.ask("extend", values)
    cancelled = {place: flag for _, place, flag in rows}
    return Extended(
        tuple(held for n, held in enumerate(leases, start=1) if cancelled.get(n)),
        tuple(held for n, held in enumerate(leases, start=1) if n not in cancelled),
    ), moment


async def acquire(pool: Pool, limit: KeyLimit, n: int, now: float | None) -> float:
    """As `Store.acquire`."""
    values = {"now": now, "key": key_of(limit), "count": limit.count, "period": limit.period, "n": n}
    ((wait,),) = await pool.ask("acquire", values)
    return float(wait)
