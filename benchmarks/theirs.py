"""Others: on a Redis of their own, in an environment of their own, made when it is first asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.caller import Caller
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
    #: what its worker and its caller find in their environment beside the rest
    settings: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path, scripts: Path, slots: int, redis: Redis) -> None:
        self._folder, self._scripts, self._slots, self._redis = folder, scripts, slots, redis
        self._url = f"redis://127.0.0.1:{redis.port}/{self.database}"
        self._worker: Program | None = None
        self._caller: Caller | None = None

    def command(self) -> list[str]:
        """How its worker is started."""
        raise NotImplementedError

    async def start(self) -> None:
        await self.come_up()
        for script in SCRIPTS:
            await self.run(script, self._slots)

    async def come_up(self) -> None:
        """Worker and caller are there."""
        self._folder.mkdir(exist_ok=True)
        settings = {"BENCH_REDIS": self._url, "BENCH_PYTHON": sys.executable, "PYTHONPATH": str(OTHERS)}
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        surroundings |= settings | self.settings
        self._worker = Program(self.command(), folder=self._folder, environment=surroundings, name=self.name)
        driver = [str(VENV / "bin/python"), str(OTHERS / "driver.py"), self.name, self._url]
        self._caller = Caller(self.name, driver, surroundings, self._worker)
        await self._caller.start()

    async def stop(self) -> None:
        if self._caller is not None:
            await self._caller.stop()
        if self._worker is not None:
            self._worker.stop()

    def pids(self) -> list[int]:
        server = [self._redis.program.pid] if self._redis.program else []
        return [*self.worker_pids(), *server]

    def worker_pids(self) -> list[int]:
        return [self._worker.pid] if self._worker else []

    def caller_pids(self) -> list[int]:
        """Its caller."""
        return self._caller.pids if self._caller else []

    async def run(self, script: str, count: int) -> float:
        return await self.ask(do="run", path=self._path(script), count=count) or 0.0

    async def call(self, script: str) -> float:
        return await self.ask(do="call", path=self._path(script)) or 0.0

    async def submit(self, count: int, *, batch: bool) -> float | None:
        return await self.ask(do="submit", path=self._path("noop"), count=count, batch=batch)

    async def ask(self, **order: Any) -> float | None:
        """Give its caller an order; how long it took."""
        assert self._caller is not None
        return await self._caller.seconds(**order)

    def _path(self, script: str) -> str:
        return str(self._scripts / SCRIPTS[script])


class Rq(Other):
    """RQ, with a pool of workers; each forks for each job."""

    name = "rq"
    database = 0

    def command(self) -> list[str]:
        pool = ["worker-pool", "-n", str(self._slots), "--url", self._url, "--logging-level", "WARNING", "bench"]
        return [str(VENV / "bin/rq"), *pool]


class Celery(Other):
    """Celery, with its default pool of processes, made beforehand and used again; as safe as Pumasi is."""

    name = "celery"
    database = 1
    settings: ClassVar[dict[str, str]] = {"BENCH_SAFE": "1"}

    def command(self) -> list[str]:
        worker = ["worker", "-Q", "bench", "-c", str(self._slots), "--loglevel", "WARNING", "-n", "bench@localhost"]
        return [str(VENV / "bin/celery"), "-A", "tasks", *worker]
