"""The verbs of a broker, written once, over the primitives of a store and a bell.

`StoreBroker` turns a `Store` into the contract of `base.Broker`: load, apply a pure function of `core.lifecycle`, swap;
again when somebody else was faster. Whoever waits listens to the bell *before* it looks, so that no ring falls between
looking and waiting, and looks again by itself when nobody rings.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from math import isfinite
from typing import Literal

from pumasi.broker.reads import MAX_PAGE, StoreReader
from pumasi.broker.store import Claim, Taken
from pumasi.core import lifecycle
from pumasi.core.bounds import MAX_SEQ, checked
from pumasi.core.ids import new_token
from pumasi.core.job import (
    ENDED,
    Held,
    Job,
    KeyLimit,
    Lease,
    Query,
    Queue,
    QueueSettings,
    Record,
    State,
    Stop,
    Worker,
)
from pumasi.core.outcome import Outcome, Released
from pumasi.errors import Conflict, Invalid, JobNotFound, LeaseLost, QueueFull

#: a worker silent this long is forgotten
FORGET_WORKER = 300.0
#: a script's bundle is kept at least this long after it was stored: a submitter may count on it for an hour
KEEP_SCRIPT = 2 * 3600.0
#: jobs of one step of a sweep
SWEEP_STEP = 500
#: what a claim listens to beside its queues: a job under a keyed limit has ended, in whatever queue
KEYS = "keys"


class StoreBroker(StoreReader):
    """The contract over a store and a bell."""

    # -- those who want work done ---------------------------------------------------------------------------------

    async def submit(self, jobs: Sequence[Job]) -> list[Job]:
        done = await self.store.insert([checked(job) for job in jobs], self.max_pending)
        if done.conflict:
            key, other = done.conflict
            raise Conflict(key=key, id=other.id)
        if done.full:
            queue, limit = done.full
            raise QueueFull(queue=queue, limit=limit, retry_after=5)
        if done.fresh:
            self.bell.ring("changes", *{f"queue:{job.queue}" for job in done.jobs if job.id in done.fresh})
        return list(done.jobs)

    async def cancel(self, id: str) -> Job:
        return await self._change(id, lifecycle.cancelled)

    async def resolve(self, id: str, how: Literal["requeued", "discarded"]) -> Job:
        return await self._change(id, lambda job, _: lifecycle.resolved(job, how))

    async def _change(self, id: str, change: Callable[[Job, float], Job]) -> Job:
        """Apply a change until nobody else was faster; the record as stored."""
        while True:
            job = await self.get(id)
            after = change(job, await self.store.now())
            if after is job:
                return job
            (stored,) = await self.store.swap([(job, after)])
            if stored is not None:
                self._ring([stored])
                return stored

    # -- those who do it ------------------------------------------------------------------------------------------

    async def claim(
        self, worker: str, queues: Sequence[str], slots: int, memory: int, wait: float, claim_id: str | None = None
    ) -> list[Lease]:
        if slots < 0:
            raise Invalid("slots is {slots}; a claim asks for 0 or more", slots=slots)
        ask = Claim(
            worker=worker,
            queues=tuple(dict.fromkeys(queues)),
            slots=slots,
            memory=memory,
            claim_id=claim_id or new_token(),
            lease=self.lease,
            tokens=tuple(new_token() for _ in range(slots)),
        )
        clock = asyncio.get_running_loop().time
        until = clock() + wait
        with self.bell.listen(KEYS, *(f"queue:{queue}" for queue in ask.queues)) as heard:
            while True:
                taken = await self._take(ask)
                if taken.lapsed:
                    await self._reclaim(ask)
                    continue
                if taken.jobs:
                    self.bell.ring("changes")
                    return [_lease(job, taken.now) for job in taken.jobs]
                left = until - clock()
                if left <= 0:
                    return []
                poll = self._poll()
                due = poll if taken.next_at is None else max(0.001, taken.next_at - taken.now)
                await heard.wait(min(left, due, poll))

    async def heartbeat(self, worker: Worker, leases: Sequence[Held]) -> list[Stop]:
        answer = await self.store.extend(worker, leases, self.lease)
        return [Stop(held.id, held.token, "cancelled") for held in answer.cancelled] + [
            Stop(held.id, held.token, "lost") for held in answer.lost
        ]

    async def settle(self, lease: Lease, outcome: Outcome) -> Job:
        job: Job | None = lease.job
        while True:
            if job is None:
                raise JobNotFound(id=lease.id)
            after = lifecycle.settled(job, lease.token, outcome, await self.store.now(), self._chance())
            if after is job:
                return job
            (stored,) = await self.store.settle([(job, after)])
            if stored is not None:
                self._ring([stored])
                return stored
            (job,) = await self.store.load([lease.id])

    async def append(self, lease: Lease, records: Sequence[Record]) -> None:
        if not records:
            return
        if not all(0 < record.seq <= MAX_SEQ for record in records):
            raise Invalid("the seq of a log record lies between 1 and {most}", most=MAX_SEQ)
        if not await self.store.append(lease.id, lease.token, records):
            raise LeaseLost(id=lease.id)
        progress = any(record.stream == "progress" for record in records)
        self.bell.ring(f"log:{lease.id}", *(["changes"] if progress else []))

    async def stops(self, worker: str) -> AsyncIterator[str]:
        with self.bell.listen(f"worker:{worker}") as heard:
            while True:
                await heard.wait(3600.0)
                for job in await self._cancelled_runs(worker):
                    yield job.id

    # -- what is kept beside the jobs -----------------------------------------------------------------------------

    async def put_blob(self, key: str, data: bytes) -> None:
        await self.blobs.put(key, data)

    # -- those who look after it ----------------------------------------------------------------------------------

    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        if running := next((job for job, _ in entries if job.state is State.RUNNING), None):
            raise Invalid("job {id} is running; only jobs that wait or have ended can be copied", id=running.id)
        new = await self.store.adopt([(checked(job), records) for job, records in entries])
        if new:
            self.bell.ring("changes", *{f"queue:{job.queue}" for job, _ in entries if job.state is State.PENDING})
        return new

    async def sweep(self, *, forget: bool = True) -> int:
        ended = 0
        while True:
            now = await self.store.now()
            stale = await self.store.lapsed(None, SWEEP_STEP)
            pairs = [(job, after) for job in stale if (after := lifecycle.swept(job, now)) is not job]
            stored = await self._swap(pairs)
            ended += stored
            if len(stale) < SWEEP_STEP or not stored:
                break
        if forget:
            kept = {state: self.retentions.get(state, self.retention) for state in ENDED}
            await self.blobs.renew(now)
            await self.store.purge(
                {state: now - seconds for state, seconds in kept.items()},
                now - max(KEEP_SCRIPT, *kept.values()),
                now - max(FORGET_WORKER, 2 * self.lease),
            )
            await self.blobs.collect(now, now - min(kept.values()))
        return ended

    async def acquire(self, limit: KeyLimit, n: int = 1) -> float:
        if limit.count is None or not 0 < n <= limit.count or not limit.period > 0:
            raise Invalid("{n} starts can never be granted by the limit {key!r}", n=n, key=limit.key)
        return await self.store.acquire(limit, n)

    async def set_queue(self, name: str, settings: QueueSettings) -> Queue:
        if isinstance(settings.ageing, float | int) and not (isfinite(settings.ageing) and settings.ageing > 0):
            raise Invalid("ageing is a number of seconds above 0; leave it out to turn it off")
        await self.store.set_queue(name, settings)
        self.bell.ring(f"queue:{name}")
        return next(queue for queue in await self.store.queues() if queue.name == name)

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _take(self, ask: Claim) -> Taken:
        """A take that hands back what it took when the claim is cancelled before it could answer."""
        taking = asyncio.ensure_future(self.store.take(ask))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            (taken,) = await asyncio.gather(taking, return_exceptions=True)
            for job in taken.jobs if isinstance(taken, Taken) else ():
                if job.token in ask.tokens:  # others were answered before, and are being run
                    await self.settle(_lease(job, 0.0), Released())
            raise

    async def _reclaim(self, ask: Claim) -> None:
        """Make lapsed runs that this claim could have pending again, or end them as lost."""
        now = await self.store.now()
        lapsed = await self.store.lapsed(ask.queues, max(ask.slots, 16), ask.memory)
        await self._swap([(job, after) for job in lapsed if (after := lifecycle.reclaimed(job, now)) is not job])

    async def _swap(self, pairs: Sequence[tuple[Job, Job]]) -> int:
        """Swap, and tell of those that were stored; how many."""
        stored = [job for job in await self.store.swap(pairs) if job is not None] if pairs else []
        self._ring(stored)
        return len(stored)

    async def _cancelled_runs(self, worker: str) -> list[Job]:
        page = await self.store.scan(Query(states=(State.RUNNING,), limit=MAX_PAGE))
        return [job for job in page.jobs if job.worker == worker and job.cancel_requested]

    def _ring(self, jobs: Iterable[Job]) -> None:
        """Tell whoever may care that these records changed."""
        topics: set[str] = set()
        for job in jobs:
            topics |= {"changes", f"job:{job.id}"}
            if job.state is State.PENDING:
                topics.add(f"queue:{job.queue}")
            if job.limit is not None and job.state is not State.RUNNING:
                topics.add(KEYS)
            if job.cancel_requested and job.worker and not job.ended:
                topics.add(f"worker:{job.worker}")
        if topics:
            self.bell.ring(*topics)


def _lease(job: Job, now: float) -> Lease:
    return Lease(job=job, token=job.token or "", expires_in=max(0.0, (job.lease_until or 0.0) - now))
