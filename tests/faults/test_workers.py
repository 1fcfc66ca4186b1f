"""Workers that die, freeze or are killed by their scripts: no job is lost, none ends twice, no process stays."""

import asyncio
import os
import signal

from pumasi.core.job import Cause, State
from tests.faults.site import Site, noting
from tests.locks import locked


async def test_a_job_of_a_killed_worker_runs_again_and_its_first_process_is_dead(site: Site) -> None:
    body = """
def main():
    note("attempts", os.environ["PUMASI_ATTEMPT"])
    time.sleep(60 * (os.environ["PUMASI_ATTEMPT"] == "1"))
    return 1
"""
    site.system.script("long.py", noting(site, body))
    first = site.workers.worker()
    job = await site.system.submit("long")
    await site.notes.noted("attempts")
    await site.system.until(job, lambda job: job.started_at is not None)
    first.kill()
    await site.notes.gone("attempts")
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.attempt, ended.deaths, ended.retries_used) == (State.COMPLETED, 2, 1, 0)
    assert site.notes.of("attempts") == ["1", "2"]


async def test_a_job_that_must_not_run_twice_ends_as_lost(site: Site) -> None:
    site.system.script("once.py", noting(site, "def main():\n    note('pids', os.getpid())\n    time.sleep(60)"))
    first = site.workers.worker()
    job = await site.system.submit("once", on_lost="fail")
    await site.notes.noted("pids")  # the broker was told before it was born
    first.kill()
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.cause, ended.attempt) == (State.FAILED, Cause.LOST, 1)
    assert len(site.notes.of("pids")) == 1


async def test_a_script_that_kills_its_workers_is_stopped_at_the_third(site: Site) -> None:
    """Only at level basic can it: there it finds the worker among its forefathers, and may signal it."""
    body = """
def main():
    pid = os.getpid()
    while b"worker" not in open(f"/proc/{pid}/cmdline", "rb").read():
        pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    waits("kills")
    os.kill(pid, 9)
    time.sleep(60)
"""
    site.system.script("poison.py", noting(site, body))
    job = await site.system.submit("poison")
    for kills in (1, 2, 3):
        worker = site.workers.worker(PUMASI_ISOLATION="basic")
        await site.notes.noted("kills", kills)
        await site.system.until(job, lambda job: job.started_at is not None)
        site.notes.go("kills")
        await asyncio.to_thread(worker.wait)
    site.workers.worker()
    ended = await site.system.end(job)
    assert (ended.state, ended.cause, ended.deaths) == (State.FAILED, Cause.LOST, 3)
    assert len(site.notes.of("kills")) == 3


async def test_the_late_ending_of_a_frozen_worker_is_refused(site: Site) -> None:
    body = """
def main():
    note("pids", os.environ["PUMASI_ATTEMPT"])
    time.sleep(2)
    return os.environ["PUMASI_ATTEMPT"]
"""
    site.system.script("slow.py", noting(site, body))
    frozen = site.workers.worker()
    job = await site.system.submit("slow")
    await site.notes.noted("pids")
    await site.system.until(job, lambda job: job.started_at is not None)
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
    await site.notes.noted("pids")
    worker.terminate()
    await site.system.until(job, lambda _: b"draining" in (site.system.folder / "worker-0.log").read_bytes())
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 20) == 130
    left = await site.system.broker.get(job.id)
    assert (left.state, left.deaths) == (State.PENDING, 0)
    await site.notes.gone("pids")


async def test_what_had_finished_when_its_worker_died_is_told_by_the_next(site: Site) -> None:
    """A worker that cannot reach its broker keeps the outcome on disk; killed then, its successor tells it."""
    site.system.script(
        "quick.py", noting(site, "def main():\n    note('ran', 1)\n    time.sleep(0.5)\n    return 'first'")
    )
    first = site.workers.worker()
    job = await site.system.submit("quick")
    await site.notes.noted("ran")
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
    assert len(site.notes.of("ran")) == 1
