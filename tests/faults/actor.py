"""A process that speaks to a broker for the fault tests: one that submits, or one that claims and settles.

It does by itself, in a few lines, what clients and workers do about a broker that fails them: ask again under the same
id, claim id or token until there is an answer. What it is told goes into its history.

    python -m tests.faults.actor '{"role": "work", "name": "w1", "url": …, "folder": …}'
"""

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pumasi.broker import clock, connect
from pumasi.broker.base import Broker
from pumasi.broker.bell import Bell
from pumasi.broker.sqlite import clock as host_clock
from pumasi.broker.verbs import StoreBroker
from pumasi.core.ids import new_token
from pumasi.core.job import Cause, Held, Job, Lease, Retry, Worker
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released
from pumasi.errors import JobNotFound, LeaseLost, QueueFull, Unavailable
from tests.faults.history import History, merged

#: seconds until it asks again
AGAIN = 0.1
SWEEP = 1.0
ROOM = 1 << 40

Answer = TypeVar("Answer")


class Part(Struct, frozen=True, kw_only=True):
    """What a process is to do."""

    role: Literal["work", "submit"]
    name: str
    url: str
    #: where histories are written
    folder: str
    queue: str = "default"
    #: seconds for which lapsed leases are left to their owners after a server's restart; None: as it is
    calm: float | None = None
    #: without a bell: it hears and rings nothing
    deaf: bool = False
    #: a worker's
    slots: int = 8
    #: seconds between its heartbeats
    beat: float = 0.3
    #: of all runs, the share that fails, and the share that is released
    unlucky: float = 0.0
    #: a submitter's: how many jobs, in batches of how many, in how many streams, and seconds from the first to the last
    jobs: int = 0
    batch: int = 10
    streams: int = 1
    spread: float = 0.0
    #: seconds that a job runs at most
    longest: float = 0.0
    #: every so many jobs one that must not run twice; 0: none
    once_every: int = 0
    #: what its jobs are like
    model: Job = Job(id="", script="a")


class Silence(Bell):
    """A bell that nobody hears."""

    @property
    def alive(self) -> bool:
        return False

    def ring(self, *topics: str) -> None:
        pass


async def answered(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer, however often one has to ask for it."""
    while True:
        try:
            return await ask()
        except (Unavailable, QueueFull):
            await asyncio.sleep(AGAIN)


@contextlib.asynccontextmanager
async def opened(part: Part) -> AsyncIterator[Broker]:
    """The broker, once it can be reached."""
    if part.calm is not None:
        clock.CALM = host_clock.CALM = part.calm
    broker = connect(part.url)
    if part.deaf:
        assert isinstance(broker, StoreBroker)
        broker.bell = Silence()
    await answered(broker.open)
    try:
        yield broker
    finally:
        await broker.close()


# -- who submits ------------------------------------------------------------------------------------------------------


def jobs_of(part: Part) -> Iterator[Job]:
    """The jobs of a submitter: the same ones whenever it is started."""
    for n in range(part.jobs):
        once = bool(part.once_every) and n % part.once_every == 0
        yield replace(
            part.model,
            id=f"{part.name}-{n:06}",
            queue=part.queue,
            priority=n % 3,
            parameters=part.model.parameters or a_run(random.Random(n).uniform(0, part.longest)),
            on_lost="fail" if once else "retry",
            retry=Retry(max_attempts=1 if once else 2, delay=0.01),
        )


def a_run(seconds: float) -> str:
    """Parameters that ask for a run of so many seconds."""
    return msgspec.json.encode({"seconds": seconds}).decode()


async def submit(broker: Broker, part: Part, history: History) -> None:
    """Submit what has not been acknowledged to this submitter in an earlier life; some of it twice."""
    known = {event.job for event in merged(Path(part.folder)) if event.what == "submit_ok"}
    waiting = (job for job in jobs_of(part) if job.id not in known)
    chance = random.Random()

    async def stream() -> None:
        while batch := list(islice(waiting, part.batch)):
            for _ in range(1 + (chance.random() < 0.05)):
                for job in await answered(lambda batch=batch: broker.submit(batch)):
                    history.submitted(job)
            await asyncio.sleep(part.spread * len(batch) / part.jobs * part.streams)

    await asyncio.gather(*(stream() for _ in range(part.streams)))


# -- who works --------------------------------------------------------------------------------------------------------


class Worked:
    """A worker without a sandbox: a run is a sleep."""

    def __init__(self, broker: Broker, part: Part, history: History) -> None:
        self._broker = broker
        self._part = part
        self._history = history
        self._chance = random.Random()
        self._record = Worker(id=part.name, pid=os.getpid(), queues=(part.queue,), slots_total=part.slots)
        self._held: dict[str, Held] = {}
        self._cancelled: set[str] = set()
        self._room = asyncio.Event()

    async def work(self) -> None:
        """Claim and settle, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._sweep())
            while True:
                for lease in await self._claim():
                    self._history.claimed(lease)
                    self._held[lease.token] = Held(lease.id, lease.token)
                    group.create_task(self._run(lease))

    async def _claim(self) -> list[Lease]:
        part, claim_id = self._part, new_token()
        while not (slots := part.slots - len(self._held)):
            self._room.clear()
            await self._room.wait()
        return await answered(lambda: self._broker.claim(part.name, [part.queue], slots, ROOM, 2.0, claim_id))

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                stops = await self._broker.heartbeat(self._record, list(self._held.values()))
                self._cancelled |= {stop.token for stop in stops if stop.reason == "cancelled"}
            await asyncio.sleep(self._part.beat)

    async def _sweep(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self._broker.sweep(forget=False)
            await asyncio.sleep(SWEEP)

    async def _run(self, lease: Lease) -> None:
        begun = Held(lease.id, lease.token, started=True)
        try:
            if lease.job.on_lost == "fail" and await answered(lambda: self._broker.heartbeat(self._record, [begun])):
                return
            self._held[lease.token] = begun
            self._history.exec_start(lease)
            await asyncio.sleep(lease.job.parameter_values["seconds"])
            self._history.exec_end(lease)
            await self._settle(lease)
        finally:
            del self._held[lease.token]
            self._room.set()

    async def _settle(self, lease: Lease) -> None:
        """Whatever was heard of the lease meanwhile: it is the broker that refuses."""
        outcome = self._outcome(lease)
        try:
            self._history.settled(lease, await answered(lambda: self._broker.settle(lease, outcome)))
        except (LeaseLost, JobNotFound):
            self._history.refused(lease)

    def _outcome(self, lease: Lease) -> Outcome:
        chance = 1.0 if lease.job.on_lost == "fail" else self._chance.random()
        if lease.token in self._cancelled:
            return Cancelled()
        if chance < self._part.unlucky / 2:
            return Released()
        if chance < self._part.unlucky:
            return Failed(cause=Cause.EXIT, error=lease.token)
        return Completed(result=f'"{lease.token}"')


async def play(part: Part) -> None:
    """Until the part is over."""
    history = History(Path(part.folder), part.name)
    async with opened(part) as broker:
        if part.role == "work":
            await Worked(broker, part, history).work()
        else:
            await submit(broker, part, history)


if __name__ == "__main__":
    asyncio.run(play(msgspec.json.decode(sys.argv[1], type=Part)))
