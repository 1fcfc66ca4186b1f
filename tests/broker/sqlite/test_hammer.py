"""Several processes on one file, some of them killed in the midst of it: nothing lost, nothing ended twice."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pumasi.broker import connect
from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Job, Query, State
from pumasi.core.outcome import Completed
from pumasi.errors import LeaseLost
from tests.broker.conformance.base import claims, submitted

SUBMITTERS = ("s0", "s1")
ALL = {f"{name}-{i:03}" for name in SUBMITTERS for i in range(60)}


class Processes:
    """Processes on one file, and what each was told by the broker."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._n = 0

    def start(self, role: str, name: str) -> subprocess.Popen[bytes]:
        self._n += 1
        with (self._folder / f"{self._n}.told").open("wb") as told:
            command = [sys.executable, "-m", "tests.broker.sqlite.hammer", self._url, role, name]
            process = subprocess.Popen(command, stdout=told, stderr=told, cwd=Path(__file__).parents[3])
        self._running.append(process)
        return process

    def told(self) -> list[list[str]]:
        """Every line that was written whole, in words."""
        lines = []
        for path in self._folder.glob("*.told"):
            whole, _, _ = path.read_text().rpartition("\n")
            lines += [line.split() for line in whole.splitlines()]
        return lines

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(f"sqlite:///{tmp_path}/pumasi.db?lease=1&max_pending=40", tmp_path)
    yield started
    started.end()


async def until_ended(broker: Broker, n: int) -> None:
    """Until so many jobs have ended."""
    while True:
        totals = (await broker.find(Query(limit=1))).totals
        if sum(totals.get(state, 0) for state in ("completed", "failed", "cancelled")) >= n:
            return
        await broker.hint("changes", timeout=1)
        await broker.sweep(forget=False)


async def test_nothing_is_lost_and_nothing_ends_twice(processes: Processes, tmp_path: Path) -> None:
    async with connect(f"sqlite:///{tmp_path}/pumasi.db?lease=1") as broker:
        submitters = [processes.start("submit", name) for name in SUBMITTERS]
        workers = [processes.start("work", f"w{n}") for n in range(3)]
        for n, victim in enumerate(workers[:2]):
            await until_ended(broker, 15 * (n + 1))
            victim.kill()
            processes.start("work", f"w{n + 3}")
        submitters[0].kill()
        processes.start("submit", SUBMITTERS[0])  # whoever got no answer submits again
        async with asyncio.timeout(60):
            await until_ended(broker, len(ALL))
        stored = {job.id: job for job in (await broker.find(Query(limit=1000))).jobs}
    processes.end()
    assert set(stored) == ALL
    told = processes.told()
    assert {words[0] for words in told} == {"submitted", "ended"}
    endings = [words[1:] for words in told if words[0] == "ended"]
    assert set(Counter(id for id, *_ in endings).values()) <= {1}
    for id, state, token in endings:
        assert (stored[id].state, stored[id].token) == (state, token)
    assert all(_is_whole(job) for job in stored.values())


def _is_whole(job: Job) -> bool:
    """Whether the ending is one there can be."""
    if job.state is State.COMPLETED:
        return job.result == f'"{job.token}"' and job.cause is None
    return job.state is State.FAILED and job.cause in (Cause.EXIT, Cause.LOST)


async def test_an_idle_worker_in_another_process_is_woken(processes: Processes, tmp_path: Path) -> None:
    """Its claim would look again by itself only after seconds; here each of 20 jobs waits for the one before it."""
    async with connect(f"sqlite:///{tmp_path}/pumasi.db") as broker:
        processes.start("work", "calm")
        async with asyncio.timeout(30):
            await submitted(broker, "first")
            await broker.wait("first", 30)
        async with asyncio.timeout(10):
            for n in range(20):
                job = await submitted(broker, f"j{n}")
                assert (await broker.wait(job.id, 10)).ended


async def test_a_process_that_stops_between_claim_and_settle_is_fenced(processes: Processes, tmp_path: Path) -> None:
    """The lease lapses while its owner is held up; its late ending is refused once another has the job."""
    async with connect(f"sqlite:///{tmp_path}/pumasi.db?lease=0.2") as broker:
        await submitted(broker, "a")
        (lease,) = await claims(broker)
        processes.start("work", "w1")
        job = await broker.wait("a", 30)
        while not job.ended:
            job = await broker.wait("a", 30)
        with pytest.raises(LeaseLost):
            await broker.settle(lease, Completed(result='"late"'))
        assert await broker.get("a") == job
