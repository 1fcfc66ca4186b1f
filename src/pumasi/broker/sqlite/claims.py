"""Leases: taken, extended, outlived."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from pumasi.broker.sqlite import jobs, lanes
from pumasi.broker.sqlite.choice import Choice, choose
from pumasi.broker.sqlite.database import Database
from pumasi.broker.store import Claim, Extended, Taken
from pumasi.core import lifecycle
from pumasi.core.job import Held, Job, KeyLimit, Worker


def take(db: Database, claim: Claim, now: float, *, calm: bool) -> Taken:
    """As `Store.take`; when `calm`, lapsed leases are left to their owners."""
    held = db.all("held", claim_id=claim.claim_id, worker=claim.worker, now=now)
    if held:
        return Taken(tuple(jobs.fetch(db, seq) for (seq,) in held), now=now)
    if not claim.slots:
        return Taken(now=now)
    queues = [queue for (queue,) in db.all("open_queues", queues=jobs.json(claim.queues))]
    names = jobs.json(queues)
    if not calm and db.one("any_lapsed", queues=names, memory=claim.memory, now=now):
        return Taken(lapsed=True, now=now)
    _wake(db, names, now)
    choice = choose(db, queues, claim.slots, claim.memory, now)
    if choice.chosen:
        return Taken(tuple(_lease(db, choice, claim, now)), now=now)
    times = [at for at in (choice.next_at, *_next(db, names, now)) if at is not None]
    return Taken(next_at=min(times, default=None), now=now)


def _next(db: Database, queues: str, now: float) -> tuple[float | None, float | None]:
    """When a lane of these queues may become ready, and when a lease may lapse."""
    return db.value("next_ready", queues=queues), db.value("next_lapse", queues=queues, now=now)


def _wake(db: Database, queues: str, now: float) -> None:
    """Make lanes ready whose first job has fallen due, or whose rate limit has come free."""
    touched = lanes.Touched(db)
    for (lane,) in db.all("lanes_due", queues=queues, now=now):
        touched.lane(lane)
    touched.refresh(now)


def _lease(db: Database, choice: Choice, claim: Claim, now: float) -> list[Job]:
    """Hand the chosen jobs out."""
    touched = lanes.Touched(db)
    taken = []
    change = db.value("next_change", n=len(choice.chosen)) - len(choice.chosen)
    for n, offer in enumerate(choice.chosen):
        job = lifecycle.claimed(
            jobs.fetch(db, offer.row),
            worker=claim.worker,
            claim_id=claim.claim_id,
            token=claim.tokens[n],
            now=now,
            lease=claim.lease,
        )
        job = replace(job, revision=job.revision + 1, change=change + n + 1)
        db.run(
            "claimed",
            seq=offer.row,
            worker=job.worker,
            claim_id=job.claim_id,
            token=job.token,
            attempt=job.attempt,
            lease_until=job.lease_until,
            claimed_at=job.claimed_at,
            change=job.change,
        )
        lanes.note_starts(db, job.limit, now)
        touched.lane(offer.lane.id)
        touched.key_of(job)
        taken.append(job)
    served = {(job.queue, job.share): job.change for job in taken}
    db.each("note_served", [{"queue": queue, "share": share, "change": at} for (queue, share), at in served.items()])
    touched.refresh(now)
    return taken


def lapsed(
    db: Database, queues: Sequence[str] | None, limit: int, memory: int | None, now: float, *, calm: bool
) -> list[Job]:
    """As `Store.lapsed`."""
    seqs = [] if queues is not None else db.all("expired", now=now, limit=limit)
    if not calm and len(seqs) < limit:
        names = None if queues is None else jobs.json(queues)
        seqs += db.all("lapsed", queues=names, memory=memory, now=now, limit=limit - len(seqs))
    return [jobs.fetch(db, seq) for (seq,) in seqs]


def extend(db: Database, worker: Worker, leases: Sequence[Held], lease: float, now: float) -> Extended:
    """As `Store.extend`."""
    if worker.status == "stopped":
        db.run("drop_worker", id=worker.id)
    else:
        db.run("put_worker", id=worker.id, record=msgspec.json.encode(replace(worker, seen_at=now)), now=now)
    cancelled, lost = [], []
    for held in leases:
        started_at = now if held.started else None
        flag = db.value("extend", id=held.id, token=held.token, until=now + lease, started_at=started_at)
        if flag is None:
            lost.append(held)
        elif flag:
            cancelled.append(held)
    return Extended(tuple(cancelled), tuple(lost))


def acquire(db: Database, limit: KeyLimit, n: int, now: float) -> float:
    """As `Store.acquire`."""
    free = lanes.Ledger(db).free_at(limit, now, n, running=0)
    if free is not None and free > now:
        return free - now
    lanes.note_starts(db, limit, now, n)
    touched = lanes.Touched(db)
    touched.key(limit.key)
    touched.refresh(now)
    return 0.0
