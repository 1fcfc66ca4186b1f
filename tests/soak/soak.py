"""A run of a soak: everybody plays, faults strike, then all is well again and everything must come to its end."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from pumasi.core.job import ENDED, Query, State
from pumasi.errors import Unavailable
from tests.faults.actor import answered
from tests.faults.history import Broken, Event, broken, ended_as
from tests.faults.places import BATCH, place, server_of
from tests.faults.stage import Stage, staged
from tests.soak.nemesis import Nemesis
from tests.soak.troupe import Troupe, plain, real

#: of the time of faults, the share in which jobs are submitted
SUBMITTING = 0.5
#: batches that are submitted side by side: one that has to wait holds no other up
STREAMS = 4
PROGRESS = 5.0


class Plan(Struct, frozen=True, kw_only=True):
    """What is done."""

    backend: str
    seed: int
    jobs: int = 20_000
    #: how long faults strike
    seconds: float = 120.0
    #: how long everything may take to come to its end afterwards
    patience: float = 180.0
    #: seconds from one fault to the next
    every: float = 2.0
    workers: int = 4
    #: jobs submitted at once
    batch: int = BATCH
    lease: float = 2.0
    #: seconds of calm after a server's restart; None: as it is
    calm: float | None = None
    #: `pumasi worker` processes, not such that run nothing
    real: bool = False


class Summary(Struct, frozen=True, kw_only=True):
    """What came of it."""

    plan: Plan
    seconds: float
    accepted: int
    ended: dict[str, int]
    #: jobs by what is wrong with them
    broken: dict[str, int]
    #: some of it, in words
    found: list[Broken]
    #: faults by name
    faults: dict[str, int]
    #: runs begun, and endings that came too late
    runs: int
    refused: int
    #: workers that ended by themselves and were started again
    fallen: int

    @property
    def good(self) -> bool:
        """Whether everything was accepted, ended, and ended once."""
        return not self.broken and self.accepted >= self.plan.jobs


class Run:
    """A soak while it runs."""

    def __init__(self, plan: Plan, stage: Stage, troupe: Troupe, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stage = stage
        self._troupe = troupe
        self._say = say
        self._began = time.monotonic()
        self._nemesis = Nemesis(stage.place, troupe, random.Random(plan.seed), plan.lease)
        self._totals: dict[str, int] = {}
        self.fallen = 0

    async def run(self) -> Summary:
        """Faults, then peace until everything has ended or patience is over, then the verdict."""
        watching = [asyncio.create_task(step()) for step in (self._observe, self._report)]
        try:
            await self._faults()
            await self._peace()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        deadline = time.monotonic()
        self._troupe.end()
        accepted = self._stage.accepted()
        for _ in range(2):
            await self._stage.look(accepted)
        return self._summary(self._stage.events(), deadline)

    async def _faults(self) -> None:
        while (began := time.monotonic()) < self._began + self._plan.seconds:
            await self._nemesis.strike()
            await asyncio.sleep(max(0.0, began + self._plan.every - time.monotonic()))
            self.fallen += self._troupe.restart_fallen()

    async def _peace(self) -> None:
        self._nemesis.last = "none any more"
        until = time.monotonic() + self._plan.patience
        while not await self._over() and time.monotonic() < until:
            await asyncio.sleep(0.2)
            self.fallen += self._troupe.restart_fallen()

    async def _over(self) -> bool:
        if not self._troupe.has_submitted:
            return False
        page = await answered(lambda: self._stage.broker.find(Query(limit=1)))
        self._totals = page.totals
        return not any(page.totals.get(state, 0) for state in State if state not in ENDED)

    async def _observe(self) -> None:
        """Note every change that is seen."""
        position = 0
        while True:
            with contextlib.suppress(Unavailable):
                page = await self._stage.broker.find(Query(changed_after=position, limit=1000))
                for job in page.jobs:
                    position = max(position, job.change)
                    if job.ended:
                        self._stage.eye.observed(job.id, job)
                self._totals = (await self._stage.broker.find(Query(limit=1))).totals
            await asyncio.sleep(0.25)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS)
            kept, totals = sum(self._totals.values()), self._totals
            ended = sum(totals.get(state, 0) for state in ENDED)
            self._say(
                f"{time.monotonic() - self._began:5.0f} s   submitted {kept}   ended {ended}   "
                f"running {totals.get('running', 0)}   faults {self._nemesis.struck.total()}   {self._nemesis.last}"
            )

    def _summary(self, events: list[Event], deadline: float) -> Summary:
        found = broken(events, deadline + 60.0)
        counts = Counter(event.what for event in events)
        return Summary(
            plan=self._plan,
            seconds=round(time.monotonic() - self._began, 1),
            accepted=len({event.job for event in events if event.what == "submit_ok"}),
            ended={str(state): n for state, n in ended_as(events).items()},
            broken=dict(Counter(one.rule for one in found)),
            found=found[:20],
            faults=dict(sorted(self._nemesis.struck.items())),
            runs=counts["exec_start"],
            refused=counts["settle_refused"],
            fallen=self.fallen,
        )


async def soak(plan: Plan, folder: Path, say: Callable[[str], None] = lambda _: None) -> Summary:
    """Everything, in a folder of its own; nothing of it runs afterwards."""
    server = server_of(plan.backend, folder / "server")
    try:
        if server is not None:
            server.start()
        with place(plan.backend, server, folder, "soak") as where:
            async with staged(where, folder) as stage, _troupe(plan, stage, folder) as troupe:
                return await Run(plan, stage, troupe, say).run()
    finally:
        if server is not None:
            server.stop()


@contextlib.asynccontextmanager
async def _troupe(plan: Plan, stage: Stage, folder: Path) -> AsyncIterator[Troupe]:
    url = stage.place.far(lease=plan.lease)
    submitted: dict[str, Any] = {
        "url": url, "jobs": plan.jobs, "spread": SUBMITTING * plan.seconds, "longest": 0.2,
        "once_every": 10, "batch": plan.batch, "streams": STREAMS, "calm": plan.calm,
    }  # fmt: skip
    if plan.real:
        async with real(stage, plan.workers, submitted, folder) as troupe:
            yield troupe
    else:
        worked = {"url": url, "slots": 16, "beat": plan.lease / 4, "unlucky": 0.05, "calm": plan.calm}
        yield plain(stage, plan.workers, submitted, worked)
