"""Who works and submits: broker-level workers or real ones, each started again when it is killed."""

import asyncio
import contextlib
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from pumasi.core.job import Job
from pumasi.intake import Intake, JobRequest
from pumasi.scripts.local import LocalRepository
from tests.faults.stage import Stage
from tests.processes import processes

SCRIPT = """
import os, socket
with socket.create_connection(("127.0.0.1", {port})) as line:
    line.sendall(f"{{os.environ['PUMASI_JOB_ID']}} {{os.environ['PUMASI_ATTEMPT']}}\\n".encode())
"""

Start = Callable[[], "subprocess.Popen[bytes]"]


class Troupe:
    """Several workers, and a submitter that submits again what it was not told is kept."""

    def __init__(self, workers: list[Start], submitter: Start) -> None:
        self._starts = workers
        self._start_submitter = submitter
        self._workers = [start() for start in workers]
        self._submitter = submitter()

    @property
    def has_submitted(self) -> bool:
        """Whether the submitter has ended by itself."""
        return self._submitter.poll() == 0

    def kill_worker(self, chance: random.Random) -> None:
        """One dies, and another takes its place."""
        n = chance.randrange(len(self._workers))
        _kill(self._workers[n])
        self._workers[n] = self._starts[n]()

    async def pause_worker(self, chance: random.Random, seconds: float) -> None:
        """One stands still for a while, and goes on as if nothing had been."""
        process = chance.choice(self._workers)
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)

    def kill_submitter(self) -> None:
        """It dies, and another goes on where it was, unless it had come to its end."""
        if not self.has_submitted:
            _kill(self._submitter)
            self._submitter = self._start_submitter()

    def end(self) -> None:
        """Nobody plays any more."""
        for process in (*self._workers, self._submitter):
            _kill(process)

    def restart_fallen(self) -> int:
        """Start those again that have ended by themselves, as a supervisor would; how many."""
        fallen = [n for n, process in enumerate(self._workers) if process.poll() is not None]
        for n in fallen:
            self._workers[n] = self._starts[n]()
        return len(fallen)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def plain(stage: Stage, workers: int, submitted: dict[str, Any], worked: dict[str, Any]) -> Troupe:
    """Workers that run nothing: they claim, wait and settle."""
    starts = [lambda n=n: stage.worker(f"w{n}", **worked) for n in range(workers)]
    return Troupe(starts, lambda: stage.submitter("s", **submitted))


@contextlib.asynccontextmanager
async def real(stage: Stage, workers: int, submitted: dict[str, Any], folder: Path) -> AsyncIterator[Troupe]:
    """`pumasi worker` processes, and a script that says when it runs and does nothing else."""
    async with _listener(stage) as port:
        with processes(folder) as started:
            started.url = str(submitted["url"])
            (started.scripts / "noop.py").write_text(SCRIPT.format(port=port))
            model = await _model(stage, started.scripts)
            starts = [lambda: started.worker("--slots", "4") for _ in range(workers)]
            yield Troupe(starts, lambda: stage.submitter("s", model=model, **submitted))


async def _model(stage: Stage, scripts: Path) -> Job:
    """A job of the script, as a caller would submit it: all others are made after it."""
    job = await Intake(stage.broker, LocalRepository(scripts)).submit(JobRequest(script="noop"))
    stage.eye.submitted(job)
    return msgspec.structs.replace(job, idempotency_key=None, unique=None, run_at=0.0)


@contextlib.asynccontextmanager
async def _listener(stage: Stage) -> AsyncIterator[int]:
    """A port on which scripts say that they run."""

    async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            id, attempt = (await reader.readline()).decode().split()
            stage.eye.ran(id, int(attempt))
        writer.close()

    server = await asyncio.start_server(heard, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
