"""Leases: taken, extended, outlived.

A claim takes these steps, each one round trip: look at the board (and for leases held under this claim id); look for a
lapsed lease and for lanes worth looking into; look into them; take change numbers; win the jobs, side by side. A job is
won by compare and swap on its own document, so it has one winner. Jobs behind a gate (`gates`) need four more. When the
board has not changed since a look that found nothing, the first step is the only one.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from pumasi.broker.mongodb import classic, inlet, jobs, lanes, runs
from pumasi.broker.mongodb.board import Sight
from pumasi.broker.mongodb.choice import Choice
from pumasi.broker.mongodb.connection import Connection
from pumasi.broker.mongodb.database import Database, Quiet
from pumasi.broker.mongodb.inlet import Waiting
from pumasi.broker.mongodb.lanes import Lane
from pumasi.broker.mongodb.runs import Lapse
from pumasi.broker.mongodb.together import together
from pumasi.broker.mongodb.winning import win_all
from pumasi.broker.store import Claim, Taken
from pumasi.core.job import Job

#: seconds for which it is believed that there is nothing, although nothing has changed
_QUIET = 60.0


async def take(connection: Connection, db: Database, claim: Claim) -> Taken:
    """As `Store.take`."""
    sight, held, waiting = await _look(db, claim)
    now = db.clock.now()
    if held:
        return Taken(tuple(held), now=now)
    if not claim.slots:
        return Taken(now=now)
    ask = (claim.queues, claim.memory)
    queues = [queue for queue in claim.queues if not sight.rules(queue).paused]
    if classic.QUEUE not in queues:
        waiting = inlet.NOTHING
    if not waiting.entries and (known := _still_quiet(db, ask, sight, now)):
        return Taken(next_at=_first([known.next_at, waiting.next_at]), now=now)
    if not queues:
        return Taken(now=now)
    ready, lapse = await _survey(connection, db, claim, queues, now)
    surveyed, now = now, db.clock.now()
    if lapse.lapsed:
        return Taken(lapsed=True, now=now)
    choice = Choice(db, sight, ready, now)
    taken = await win_all(db, claim, sight, choice, waiting.entries, now)
    if taken:
        return Taken(tuple(taken), now=now)
    times = [*choice.times, lapse.next_at, await lanes.next_at(db, queues, surveyed)]
    next_at = _first(times)
    db.remember(db.clean, claim.worker, claim.claim_id)
    if choice.undisturbed and len(ready) < lanes.MOST and db.board.calm(sight) and not db.clock.calm():
        db.remember(db.quiet, ask, Quiet(sight.version, next_at, time.monotonic()))
    return Taken(next_at=_first([next_at, waiting.next_at]), now=now)


def _first(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)


def _still_quiet(db: Database, ask: tuple[tuple[str, ...], int], sight: Sight, now: float) -> Quiet | None:
    """What the last look found, when it was nothing and nothing has changed since. It is not believed for long: in a
    failover a change of the board may be lost."""
    known = db.quiet.get(ask)
    if known is None or known.version != sight.version or time.monotonic() > known.at + _QUIET:
        return None
    if (known.next_at is not None and known.next_at <= now) or db.clock.calm():
        return None
    return known


async def _look(db: Database, claim: Claim) -> tuple[Sight, list[Job], Waiting]:
    """The board, what is held under the claim id, and which documents of other programs wait."""
    looked: list[Any] = await together([db.board.look(), _held(db, claim), _documents(db, claim)])
    return looked[0], looked[1], looked[2]


async def _documents(db: Database, claim: Claim) -> Waiting:
    if classic.QUEUE not in claim.queues or not claim.slots:
        return inlet.NOTHING
    return await inlet.look(db, claim.memory, claim.slots, db.clock.now())


async def _held(db: Database, claim: Claim) -> list[Job]:
    """What is held under the claim id; nothing is after a claim under it that took nothing."""
    if db.clean.get(claim.worker) == claim.claim_id:
        return []
    query = {
        "claim_id": {"$eq": claim.claim_id},
        "worker": {"$eq": claim.worker},
        "state": {"$eq": "running"},
        "lease_until": {"$gt": db.clock.now()},
    }
    found = await db.jobs.find(query).to_list()
    return sorted((jobs.record(job) for job in found), key=lambda job: job.id)


async def _survey(
    connection: Connection, db: Database, claim: Claim, queues: Sequence[str], now: float
) -> tuple[list[Lane], Lapse]:
    surveyed: list[Any] = await together(
        [lanes.ready(db, queues, claim.memory, now), runs.look(connection, db, claim.memory, queues, now)]
    )
    return surveyed[0], surveyed[1]
