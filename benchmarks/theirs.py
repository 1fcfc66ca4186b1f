"""RQ and Celery: on a Redis of their own, in an environment of their own, made when it is first asked for."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.fixture import SCRIPTS
from benchmarks.processes import Program, free_port, listening
from benchmarks.systems import System

HERE = Path(__file__).parent
VENV = HERE / ".venv"
OTHERS = HERE / "others"


def environment() -> str | None:
    """Make `benchmarks/.venv`, unless it is there; what went wrong, or None."""
    wanted = (OTHERS / "requirements.txt").read_text()
    mark = VENV / "installed.txt"
    if mark.exists() and mark.read_text() == wanted:
        return None
    uv = Path(sys.executable).with_name("uv")
    command = str(uv) if uv.exists() else shutil.which("uv")
    if command:
        steps = [
            [command, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)],
            [
                command,
                "pip",
                "install",
                "--quiet",
                "--python",
                str(VENV / "bin/python"),
                "-r",
                str(OTHERS / "requirements.txt"),
            ],
        ]
    else:
        steps = [
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", "-r", str(OTHERS / "requirements.txt")],
        ]
    for step in steps:
        done = subprocess.run(step, check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip()[-500:] or f"{step[0]} ended with {done.returncode}"
    mark.write_text(wanted)
    return None


class Redis:
    """A private server, without persistence: for the others that is the fastest there is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.program: Program | None = None

    async def start(self) -> None:
        """Up, and answering."""
        self._folder.mkdir()
        options = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            str(self._folder),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self.program = Program(
            ["redis-server", *options], folder=self._folder, environment=dict(os.environ), name="redis"
        )
        self.program.wait_until(lambda: listening(self.port))

    async def stop(self) -> None:
        """Down."""
        if self.program is not None:
            self.program.stop()


class Other(System):
    """One of them: a worker with as many processes as there are slots, and a caller in their environment."""

    #: the database of the server that it has for itself
    database: int

    def __init__(self, folder: Path, scripts: Path, slots: int, redis: Redis) -> None:
        self._folder, self._scripts, self._slots, self._redis = folder, scripts, slots, redis
        self._url = f"redis://127.0.0.1:{redis.port}/{self.database}"
        self._worker: Program | None = None
        self._driver: asyncio.subprocess.Process | None = None

    def command(self) -> list[str]:
        """How its worker is started."""
        raise NotImplementedError

    async def start(self) -> None:
        self._folder.mkdir()
        settings = {"BENCH_REDIS": self._url, "BENCH_PYTHON": sys.executable, "PYTHONPATH": str(OTHERS)}
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | settings
        self._worker = Program(self.command(), folder=self._folder, environment=surroundings, name=self.name)
        self._driver = await asyncio.create_subprocess_exec(
            str(VENV / "bin/python"),
            str(OTHERS / "driver.py"),
            self.name,
            self._url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=surroundings,
        )
        for script in SCRIPTS:
            await self.run(script, self._slots)

    async def stop(self) -> None:
        if self._driver is not None and self._driver.stdin is not None:
            self._driver.stdin.close()
            await self._driver.wait()
        if self._worker is not None:
            self._worker.stop()

    def pids(self) -> list[int]:
        server = [self._redis.program.pid] if self._redis.program else []
        return [*self.worker_pids(), *server]

    def worker_pids(self) -> list[int]:
        return [self._worker.pid] if self._worker else []

    async def run(self, script: str, count: int) -> float:
        return await self._seconds(do="run", path=self._path(script), count=count)

    async def call(self, script: str) -> float:
        return await self._seconds(do="call", path=self._path(script))

    async def submit(self, count: int, *, batch: bool) -> float | None:
        answer = await self._ask(do="submit", path=self._path("noop"), count=count, batch=batch)
        seconds: float | None = answer["seconds"]
        return seconds

    def _path(self, script: str) -> str:
        return str(self._scripts / SCRIPTS[script])

    async def _seconds(self, **order: Any) -> float:
        return float((await self._ask(**order))["seconds"])

    async def _ask(self, **order: Any) -> dict[str, Any]:
        driver = self._driver
        assert driver is not None and driver.stdin is not None and driver.stdout is not None
        driver.stdin.write(json.dumps(order).encode() + b"\n")
        await driver.stdin.drain()
        line = await driver.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its caller has ended"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer


class Rq(Other):
    """RQ, with a pool of workers; each forks for each job."""

    name = "rq"
    database = 0

    def command(self) -> list[str]:
        pool = ["worker-pool", "-n", str(self._slots), "--url", self._url, "--logging-level", "WARNING", "bench"]
        return [str(VENV / "bin/rq"), *pool]


class Celery(Other):
    """Celery, with its default pool of processes, made beforehand and used again."""

    name = "celery"
    database = 1

    def command(self) -> list[str]:
        worker = ["worker", "-Q", "bench", "-c", str(self._slots), "--loglevel", "WARNING", "-n", "bench@localhost"]
        return [str(VENV / "bin/celery"), "-A", "tasks", *worker]
