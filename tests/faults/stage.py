"""What a fault test has: a store, processes that speak to it, an eye that watches it, and the verdict at the end."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pumasi.broker import connect
from pumasi.broker.base import Broker
from pumasi.core.job import ENDED, Job, Query
from pumasi.errors import Unavailable
from tests.faults.actor import Part, a_run, answered
from tests.faults.history import Broken, Event, History, broken, merged
from tests.faults.places import Place, batch_of

ROOT = Path(__file__).parents[2]
#: a test that is killed leaves none of them behind
MORTAL = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
#: seconds of a lease, between heartbeats, and of calm after a server's restart
LEASE, BEAT, CALM = 1.0, 0.25, 2.0
#: seconds for which a broker is out of reach: a minute where `TEST_WHOLE_FAULTS` asks for what takes long
OUT_OF_REACH = 60.0 if os.environ.get("TEST_WHOLE_FAULTS") else 3 * LEASE
#: seconds within which a job must have run once a fault is over
SOON = 10.0
LOOK = 0.05


class Cast:
    """The processes of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.histories = folder / "histories"
        self.histories.mkdir(parents=True, exist_ok=True)
        self._playing: list[tuple[subprocess.Popen[bytes], Path]] = []

    def play(self, part: Part, wrap: Callable[[Sequence[str]], Sequence[str]] = list) -> "subprocess.Popen[bytes]":
        """A process that plays a part, by its own command or one that `wrap` makes of it."""
        said = self.folder / f"{part.name}-{len(self._playing)}.log"
        command = [*MORTAL, sys.executable, "-m", "tests.faults.actor", msgspec.json.encode(part).decode()]
        with said.open("wb") as output:
            process = subprocess.Popen(
                wrap(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._playing.append((process, said))
        return process

    def end(self) -> None:
        """Nobody plays any more. One that failed by itself is a fault of its own: its last words are raised."""
        failed = [said for process, said in self._playing if process.poll() is not None and process.returncode > 0]
        for process, _ in self._playing:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()
        self._playing.clear()
        for said in failed:
            raise AssertionError(f"{said.name}: {said.read_text(errors='replace')[-2000:]}")


class Stage:
    """A store, those who play on it, and an eye that watches it from close by."""

    def __init__(self, place: Place, cast: Cast, broker: Broker) -> None:
        self.place = place
        self.cast = cast
        self.broker = broker
        self.eye = History(cast.histories, "eye")
        self._more = 0

    # -- who plays ------------------------------------------------------------------------------------------------

    def worker(self, name: str, *, wrap: Callable[[Sequence[str]], Sequence[str]] = list, **part: Any) -> Any:
        """A process that claims and settles through the bad network."""
        return self.cast.play(self._part(role="work", name=name, **part), wrap)

    def submitter(self, name: str, jobs: int, **part: Any) -> Any:
        """A process that submits through the bad network, and ends."""
        part = {"batch": batch_of(self.place.backend)} | part
        return self.cast.play(self._part(role="submit", name=name, jobs=jobs, **part))

    async def submit(self, id: str, seconds: float = 0.0, **values: Any) -> Job:
        """Submit a job, from close by."""
        job = Job(id=id, script="a", parameters=a_run(seconds), **values)
        (stored,) = await answered(lambda: self.broker.submit([job]))
        self.eye.submitted(stored)
        return stored

    # -- what is seen ---------------------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """What everybody saw until now."""
        return merged(self.cast.histories)

    def accepted(self) -> set[str]:
        """Jobs that somebody was told are kept."""
        return {event.job for event in self.events() if event.what == "submit_ok"}

    async def saw(self, condition: Callable[[Event], bool], seconds: float = SOON) -> Event:
        """The first event like this, once somebody has seen it."""
        async with asyncio.timeout(seconds):
            while not (found := [event for event in self.events() if condition(event)]):
                await asyncio.sleep(LOOK)
        return found[0]

    async def running(self, id: str) -> Event:
        """The beginning of a job's run, once it has begun."""
        return await self.saw(lambda event: event.job == id and event.what == "exec_start")

    async def look(self, ids: Iterable[str]) -> list[Job | None]:
        """The records as they stand; it is noted what was seen."""
        wanted = sorted(ids)
        records: dict[str, Job] = {}
        for start in range(0, len(wanted), 500):
            query = Query(ids=tuple(wanted[start : start + 500]), limit=1000)
            page = await answered(lambda query=query: self.broker.find(query))
            records |= {job.id: job for job in page.jobs}
        for id in wanted:
            self.eye.observed(id, records.get(id))
        return [records.get(id) for id in wanted]

    async def ended(self, n: int, seconds: float = 40.0) -> None:
        """Until so many jobs have ended."""
        async with asyncio.timeout(seconds):
            while await self._n_ended() < n:
                await self._hint(0.2)

    async def end_of(self, id: str, seconds: float = SOON) -> Job:
        """The record of a job once it has ended."""
        async with asyncio.timeout(seconds):
            while not (job := await answered(lambda: self.broker.get(id))).ended:
                await asyncio.sleep(LOOK)
        self.eye.observed(id, job)
        return job

    async def one_more(self) -> None:
        """A job that is submitted now runs soon."""
        self._more += 1
        job = await self.submit(f"more-{self._more}")
        await self.end_of(job.id)

    async def verdict(self) -> list[Event]:
        """All that was seen, once everything that was accepted has ended. Nothing of it may be wrong."""
        accepted = self.accepted()
        await self.ended(len(accepted))
        await self.look(accepted)
        await self.look(accepted)
        events = self.events()
        assert broken(events) == []
        return events

    # -- inside ---------------------------------------------------------------------------------------------------

    def _part(self, **part: Any) -> Part:
        defaults = {"url": self.place.far(lease=LEASE), "folder": str(self.cast.histories), "beat": BEAT, "calm": CALM}
        return Part(**(defaults | part))

    async def _n_ended(self) -> int:
        page = await answered(lambda: self.broker.find(Query(limit=1)))
        return sum(page.totals.get(state, 0) for state in ENDED)

    async def _hint(self, seconds: float) -> None:
        with contextlib.suppress(Unavailable):
            await self.broker.hint("changes", timeout=seconds)


def all_of(found: list[Broken]) -> str:
    """What is broken, in lines."""
    return "\n".join(f"{one.rule}: {one.job}: {one.text}" for one in found)


@contextlib.asynccontextmanager
async def staged(place: Place, folder: Path) -> AsyncIterator[Stage]:
    """A stage; at its end nobody plays any more."""
    cast = Cast(folder)
    broker = connect(place.url(lease=LEASE))
    await answered(broker.open)
    stage = Stage(place, cast, broker)
    try:
        yield stage
    finally:
        stage.eye.close()
        await broker.close()
        cast.end()
