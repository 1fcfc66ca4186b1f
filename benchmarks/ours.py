"""Pumasi, as anybody runs it: a worker in a process of its own, the caller in this one."""

import json
import os
import sys
import time
from pathlib import Path

import httpx2

from benchmarks.fixture import SCRIPTS
from benchmarks.processes import Program, cpu_seconds, pss_bytes
from benchmarks.systems import System
from pumasi import AsyncClient
from pumasi.broker import Broker, connect
from pumasi.core.job import Job, QueueSettings
from pumasi.intake import Intake, JobRequest
from pumasi.scripts.local import LocalRepository

BATCH = 500


class Pumasi(System):
    """A worker on SQLite, and a client that speaks to the database itself."""

    name = "pumasi"

    def __init__(self, folder: Path, scripts: Path, slots: int) -> None:
        self._folder, self._scripts, self._slots = folder, scripts, slots
        self._url = f"sqlite:///{folder / 'pumasi.db'}"
        self._worker: Program | None = None

    async def start(self) -> None:
        self._folder.mkdir()
        self._broker: Broker = connect(self._url)
        await self._broker.open()
        self._intake = Intake(self._broker, LocalRepository(self._scripts))
        self._client = AsyncClient(self._url, scripts=self._scripts)
        command = [sys.executable, "-m", "pumasi", "worker", "--broker", self._url, "--slots", str(self._slots)]
        environment = closed_environment(self._folder, self._scripts)
        self._worker = Program(command, folder=self._folder, environment=environment, name="worker")
        for script in SCRIPTS:
            await self.run(script, self._slots)

    async def stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            await self._client.close()
            await self._broker.close()

    def pids(self) -> list[int]:
        return self.worker_pids()

    def worker_pids(self) -> list[int]:
        return [self._worker.pid] if self._worker else []

    async def run(self, script: str, count: int) -> float:
        began = time.perf_counter()
        jobs = await self._submitted(script, count)
        for job in jobs:
            await self._ended(job)
        return time.perf_counter() - began

    async def call(self, script: str) -> float:
        began = time.perf_counter()
        await self._client.run(script, timeout=60)
        return time.perf_counter() - began

    async def pickup(self) -> float:
        """Seconds from the submit of a job on the idle system until the worker, another process, has claimed it."""
        job = await self._client.submit("noop")
        ended = await self._ended(job)
        return (ended.claimed_at or 0.0) - ended.created_at

    async def submit(self, count: int, *, batch: bool) -> float | None:
        return await submits(self._url, self._scripts, count, batch=batch)

    async def _submitted(self, script: str, count: int) -> list[Job]:
        jobs: list[Job] = []
        while len(jobs) < count:
            requests = [JobRequest(script=script)] * min(BATCH, count - len(jobs))
            jobs += await self._intake.submit_many(requests)
        return jobs

    async def _ended(self, job: Job) -> Job:
        while not job.ended:
            job = await self._broker.wait(job.id, 5.0)
            if not job.ended and self._worker is not None:
                self._worker.check()
        if job.state != "completed":
            raise RuntimeError(f"job {job.id} of {job.script} is {job.state.value}: {job.error}")
        return job


class Up:
    """`pumasi up`, asked over HTTP."""

    def __init__(self, folder: Path, scripts: Path, slots: int) -> None:
        self._folder, self._scripts, self._slots = folder, scripts, slots
        self._program: Program | None = None

    async def start(self) -> None:
        """Up, and warm."""
        self._folder.mkdir()
        command = [sys.executable, "-m", "pumasi", "up", "--port", "0", "--slots", str(self._slots)]
        environment = closed_environment(self._folder, self._scripts)
        self._program = Program(command, folder=self._folder, environment=environment, name="up")
        token_file = self._folder / "token.json"
        self._program.wait_until(token_file.exists)
        told = json.loads(token_file.read_text())
        headers = {"Authorization": f"Bearer {told['token']}"}
        self._client = httpx2.AsyncClient(base_url=told["url"], headers=headers, timeout=60)
        await self.call("noop")

    async def stop(self) -> None:
        """Down."""
        if self._program is not None:
            self._program.stop()
            if hasattr(self, "_client"):
                await self._client.aclose()

    def cpu(self) -> float:
        """CPU seconds used so far."""
        return cpu_seconds(self._pids())

    def memory(self) -> int:
        """Bytes (PSS)."""
        return pss_bytes(self._pids())

    def _pids(self) -> list[int]:
        return [self._program.pid] if self._program else []

    async def call(self, script: str) -> float:
        """One `POST /v1/jobs?wait`, until the ended job is here."""
        began = time.perf_counter()
        answer = await self._client.post("/v1/jobs", params={"wait": 60}, json={"script": script})
        if answer.status_code != 200 or answer.json()["state"] != "completed":
            raise RuntimeError(f"{answer.status_code}: {answer.text[:1000]}")
        return time.perf_counter() - began

    async def submit(self, count: int) -> float:
        """`POST /v1/jobs` one after another, into a queue that nobody serves."""
        began = time.perf_counter()
        for _ in range(count):
            answer = await self._client.post("/v1/jobs", json={"script": "noop", "queue": "unserved"})
            answer.raise_for_status()
        return time.perf_counter() - began


async def submits(url: str, scripts: Path, count: int, *, batch: bool) -> float:
    """Seconds for `count` submits into a queue that nobody serves, straight into a broker."""
    async with connect(url) as broker:
        await broker.set_queue("unserved", QueueSettings(paused=True))
        intake = Intake(broker, LocalRepository(scripts))
        request = JobRequest(script="noop", queue="unserved")
        await intake.submit(request)
        began = time.perf_counter()
        if batch:
            for start in range(0, count, BATCH):
                await intake.submit_many([request] * min(BATCH, count - start))
        else:
            for _ in range(count):
                await intake.submit(request)
        return time.perf_counter() - began


def closed_environment(folder: Path, scripts: Path) -> dict[str, str]:
    """This machine's environment without settings that would make one run unlike another."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PUMASI_", "PYTHON"))}
    return kept | {
        "PUMASI_DATA_DIR": str(folder),
        "PUMASI_SCRIPTS": str(scripts),
        "PUMASI_BROKER": f"sqlite:///{folder / 'pumasi.db'}",
        "PUMASI_LANG": "en",
    }
