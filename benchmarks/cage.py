"""What the cage itself costs: a worker on the memory broker in this process, and the sandbox without any broker."""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import cpu_seconds, pss_bytes
from pumasi.broker import Broker, connect
from pumasi.config import Settings
from pumasi.core.job import Job
from pumasi.intake import Intake, JobRequest
from pumasi.scripts.local import LocalRepository
from pumasi.worker import Worker

#: an interpreter with the modules that a template has, and nothing but `fork`, `_exit`, `wait`
FORKS = """
import os, sys, resource, ctypes, json, socket, traceback, contextlib, struct, signal, threading, gc
def spent():
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
gc.freeze()
count, before = int(sys.argv[1]), spent()
for _ in range(count):
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
print((spent() - before) / count)
"""


class Caged:
    """A worker of this process, and its broker."""

    def __init__(self, folder: Path, scripts: Path, slots: int) -> None:
        self._url = f"memory://{folder}"
        self._settings = Settings(
            data_dir=folder, scripts=scripts, broker=self._url, slots=slots, isolation="full", memory=64 << 30,
            drain=0.0, log_level="warning",
        )  # fmt: skip
        self._scripts = scripts

    async def __aenter__(self) -> "Caged":
        self.broker: Broker = connect(self._url)
        await self.broker.open()
        self._intake = Intake(self.broker, LocalRepository(self._scripts))
        self._worker = Worker(self._settings)
        self._running = asyncio.create_task(self._worker.run())
        await self._worker.ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._worker.stop()
        await self._running
        await self.broker.close()

    async def submit(self, script: str, count: int) -> Sequence[Job]:
        """So many jobs, at once."""
        return await self._intake.submit_many([JobRequest(script=script)] * count)

    async def run(self, script: str, count: int) -> list[Job]:
        """So many jobs, all ended."""
        return [await self._ended(job) for job in await self.submit(script, count)]

    async def _ended(self, job: Job) -> Job:
        job = await self.broker.wait(job.id, 60.0)
        if job.state != "completed":
            raise RuntimeError(f"job {job.id} is {job.state.value}: {job.error}")
        return job


async def throughput(folder: Path, scripts: Path, slots: int, count: int) -> float:
    """No-op jobs a second."""
    async with Caged(folder, scripts, slots) as caged:
        await caged.run("noop", 4 * slots)
        began = time.perf_counter()
        await caged.run("noop", count)
        return count / (time.perf_counter() - began)


async def cpu(folder: Path, scripts: Path, count: int) -> tuple[float, float, float]:
    """CPU seconds of one no-op job in the slot and its keeper, of all of it, and of a bare fork."""
    async with Caged(folder, scripts, 1) as caged:
        await caged.run("noop", 20)
        inside, all_of_it = _inside(), _inside() + _own()
        await caged.run("noop", count)
        inside, all_of_it = _inside() - inside, _inside() + _own() - all_of_it
    bare = subprocess.run([sys.executable, "-c", FORKS, str(count)], check=True, capture_output=True, text=True).stdout
    return inside / count, all_of_it / count, float(bare)


async def births(folder: Path, scripts: Path, count: int) -> list[float]:
    """Seconds from the lease to the first line of the script, one job after another."""
    async with Caged(folder, scripts, 1) as caged:
        await caged.run("born", 3)
        jobs = [(await caged.run("born", 1))[0] for _ in range(count)]
        return [float(job.result or 0) - (job.claimed_at or 0) for job in jobs]


async def crowd(folder: Path, scripts: Path, count: int) -> tuple[float, float]:
    """So many jobs that sleep: bytes (PSS) of each, and the age of the worker's last heartbeat when all of them do."""
    async with Caged(folder, scripts, count) as caged:
        before = pss_bytes([os.getpid()])
        jobs = await caged.submit("sleeps", count)
        while None in [(await caged.broker.get(job.id)).started_at for job in jobs]:
            await asyncio.sleep(0.2)
        held = (pss_bytes([os.getpid()]) - before) / count
        (worker,) = await caged.broker.workers()
        return held, await _age(caged.broker, worker.seen_at)


async def _age(broker: Broker, seen_at: float) -> float:
    """Seconds until the next heartbeat comes, and no more than what one may take."""
    began = time.perf_counter()
    while time.perf_counter() - began < 15.0:
        (worker,) = await broker.workers()
        if worker.seen_at > seen_at:
            return worker.seen_at - seen_at
        await asyncio.sleep(0.1)
    raise RuntimeError("no heartbeat came within 15 s")


def _inside() -> float:
    """Of everything below this process."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return cpu_seconds([os.getpid()]) - own.ru_utime - own.ru_stime


def _own() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime
