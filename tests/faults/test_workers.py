"""Workers that die, freeze or are killed by their scripts: no job is lost, none ends twice, no process stays."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pumasi.core.job import Cause, Job, Query, State
from tests.harness import System
from tests.locks import locked
from tests.processes import Processes, alive, processes


class Site:
    """Real worker processes, and a system in this process that shares their broker."""

    def __init__(self, system: System, workers: Processes) -> None:
        self.system = system
        self.workers = workers

    def notes(self, name: str) -> list[str]:
        """What scripts have written to a file of notes, line by line."""
        path = self.system.folder / name
        return path.read_text().split() if path.exists() else []

    async def noted(self, name: str, count: int = 1) -> list[str]:
        """The notes once there are so many."""
        async with asyncio.timeout(30):
            while len(self.notes(name)) < count:
                await asyncio.sleep(0.02)
        return self.notes(name)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with processes(tmp_path) as workers:
        async with System(tmp_path, workers.url).open() as system:
            yield Site(system, workers)


NOTE = """
import os, time
def note(name, text):
    fd = os.open(os.path.join({folder!r}, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (str(text) + "\\n").encode())
    os.close(fd)
"""


def noting(site: Site, body: str) -> str:
    return NOTE.format(folder=str(site.system.folder)) + body


async def test_a_job_of_a_killed_worker_runs_again_and_its_first_process_is_dead(site: Site) -> None:
    body = """
def main():
    note("pids", os.getpid())
    time.sleep(60 * (os.environ["PUMASI_ATTEMPT"] == "1"))
    return 1
"""
    site.system.script("long.py", noting(site, body))
    first = site.workers.worker()
    job = await site.system.submit("long")
    (pid,) = map(int, await site.noted("pids"))
    first.kill()
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.attempt, ended.deaths, ended.retries_used) == (State.COMPLETED, 2, 1, 0)
    assert not alive(pid)


async def test_a_job_that_must_not_run_twice_ends_as_lost(site: Site) -> None:
    site.system.script("once.py", noting(site, "def main():\n    note('pids', os.getpid())\n    time.sleep(60)"))
    first = site.workers.worker()
    job = await site.system.submit("once", on_lost="fail")
    await site.noted("pids")
    first.kill()
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.cause, ended.attempt) == (State.FAILED, Cause.LOST, 1)
    assert len(site.notes("pids")) == 1


async def test_a_script_that_kills_its_workers_is_stopped_at_the_third(site: Site) -> None:
    body = """
def main():
    keeper = os.getppid()
    worker = int(open(f"/proc/{keeper}/stat").read().rpartition(")")[2].split()[1])
    note("kills", worker)
    time.sleep(0.2)
    os.kill(worker, 9)
    time.sleep(60)
"""
    site.system.script("poison.py", noting(site, body))
    job = await site.system.submit("poison")
    for kills in (1, 2, 3):
        worker = site.workers.worker()
        await site.noted("kills", kills)
        await asyncio.to_thread(worker.wait)
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.cause, ended.deaths) == (State.FAILED, Cause.LOST, 3)
    assert len(site.notes("kills")) == 3


async def test_the_late_ending_of_a_frozen_worker_is_refused(site: Site) -> None:
    body = """
def main():
    note("pids", os.environ["PUMASI_ATTEMPT"])
    time.sleep(1)
    return os.environ["PUMASI_ATTEMPT"]
"""
    site.system.script("slow.py", noting(site, body))
    frozen = site.workers.worker()
    job = await site.system.submit("slow")
    await site.noted("pids")
    os.kill(frozen.pid, signal.SIGSTOP)
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.attempt, ended.result) == (State.COMPLETED, 2, '"2"')
    os.kill(frozen.pid, signal.SIGCONT)
    frozen.terminate()
    assert await asyncio.to_thread(frozen.wait, 30) == 0
    assert (await site.system.broker.get(job.id)) == ended


async def test_a_second_signal_stops_at_once_and_releases_the_job(site: Site) -> None:
    site.system.script("long.py", noting(site, "note('pids', os.getpid())\ntime.sleep(60)"))
    worker = site.workers.worker()
    job = await site.system.submit("long")
    (pid,) = map(int, await site.noted("pids"))
    worker.terminate()
    await site.system.until(job, lambda _: b"draining" in (site.system.folder / "worker-0.log").read_bytes())
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 20) == 130
    left = await site.system.broker.get(job.id)
    assert (left.state, left.deaths) == (State.PENDING, 0)
    assert not alive(pid)


async def test_what_had_finished_when_its_worker_died_is_told_by_the_next(site: Site) -> None:
    """A worker that cannot reach its broker keeps the outcome on disk; killed then, its successor tells it."""
    site.system.script(
        "quick.py", noting(site, "def main():\n    note('ran', 1)\n    time.sleep(0.5)\n    return 'first'")
    )
    first = site.workers.worker()
    job = await site.system.submit("quick")
    await site.noted("ran")
    with locked(site.system.folder / "pumasi.db"):
        spool = site.system.folder / "data" / "spool"
        async with asyncio.timeout(10):
            while not any(path.stat().st_size for path in spool.glob("*.spool")):
                await asyncio.sleep(0.02)
        first.kill()
        await asyncio.to_thread(first.wait)
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.result, ended.attempt) == (State.COMPLETED, '"first"', 1)
    assert len(site.notes("ran")) == 1


JOBS, KILLS = 500, 10


@pytest.mark.timeout(240)
async def test_five_hundred_jobs_while_workers_are_killed_at_random(site: Site) -> None:
    site.system.script("quick.py", noting(site, "def main(n):\n    note('ran', n)\n    return n"))
    chance = random.Random(20)
    jobs: list[Job] = []
    endings: dict[str, Job] = {}
    kills = KILLS
    workers = [site.workers.worker("--slots", "4") for _ in range(2)]
    for n in range(JOBS):
        jobs.append(await site.system.submit("quick", {"n": n}))
    async with asyncio.timeout(200):
        while len(endings) < JOBS:
            await site.system.broker.hint("changes", timeout=chance.uniform(0.3, 1.5))
            if kills and chance.random() < 0.4:
                kills -= 1
                victim = chance.randrange(len(workers))
                workers[victim].kill()
                workers[victim] = site.workers.worker("--slots", "4")
            await _observe(site, endings)
    by_id = {job.id: n for n, job in enumerate(jobs)}
    assert set(endings) == set(by_id)
    for id, job in endings.items():
        unlucky = (job.state, job.cause, job.deaths) == (State.FAILED, Cause.LOST, 3)
        assert unlucky or (job.state, job.result) == (State.COMPLETED, str(by_id[id])), job.error
    assert set(site.notes("ran")) == {str(n) for n in range(JOBS)}


async def _observe(site: Site, endings: dict[str, Job]) -> None:
    """Every ending there is; one that was seen before must stand as it was."""
    cursor = None
    while True:
        page = await site.system.broker.find(
            Query(states=(State.COMPLETED, State.FAILED, State.CANCELLED), cursor=cursor, limit=500)
        )
        for job in page.jobs:
            assert endings.setdefault(job.id, job) == job
        cursor = page.cursor
        if cursor is None:
            return
