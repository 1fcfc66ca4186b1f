"""Jobs that do nothing, beside other queues on the same Redis: theirs a function in a process made beforehand, ours a
script in a sealed process of its own.

One system is up at a time, its caller in a process of its own; each is given as many jobs as it does in some seconds.
"""

import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from msgspec import Struct
from rich.console import Console
from rich.progress import Progress

from benchmarks import theirs
from benchmarks.caller import Caller
from benchmarks.notes import Notes, Values
from benchmarks.ours import closed_environment
from benchmarks.processes import Program, cpu_seconds
from benchmarks.systems import up
from benchmarks.theirs import VENV, Other, Redis

COLUMNS = {"pumasi": "Pumasi", "celery": "Celery", "celery late": "Celery,\nacks late", "rq": "RQ",
           "dramatiq": "Dramatiq", "taskiq": "Taskiq"}  # fmt: skip
COMPARED = ("celery", "celery late", "rq", "dramatiq", "taskiq")


class Plan(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    name: str
    rounds: int
    #: seconds that a system is to be busy with no-op jobs
    seconds: float
    calls: int
    submits: int


FULL = Plan(name="full", rounds=3, seconds=6.0, calls=300, submits=5000)
QUICK = Plan(name="quick", rounds=1, seconds=0.5, calls=10, submits=100)


class Pumasi:
    """A worker at level full, and the client that anybody uses."""

    name = "pumasi"
    database = 0

    def __init__(self, folder: Path, scripts: Path, slots: int, redis: Redis) -> None:
        self._folder, self._scripts, self._slots = folder, scripts, slots
        self._url = f"redis://127.0.0.1:{redis.port}/{self.database}"
        self._worker: Program | None = None
        self._caller: Caller | None = None

    async def come_up(self) -> None:
        """Worker and caller are there."""
        self._folder.mkdir(exist_ok=True)
        environment = closed_environment(self._folder, self._scripts) | {"PUMASI_ISOLATION": "full"}
        command = [sys.executable, "-m", "pumasi", "worker", "--broker", self._url, "--slots", str(self._slots)]
        self._worker = Program(command, folder=self._folder, environment=environment, name="worker")
        driver = [sys.executable, "-m", "benchmarks.driver", self._url, str(self._scripts)]
        ours = environment | {"PYTHONPATH": str(Path(__file__).parents[1])}
        self._caller = Caller(self.name, driver, ours, self._worker)
        await self._caller.start()

    async def stop(self) -> None:
        """Down, nothing left."""
        if self._caller is not None:
            await self._caller.stop()
        if self._worker is not None:
            self._worker.stop()

    def worker_pids(self) -> list[int]:
        """The worker; its jobs descend from it."""
        return [self._worker.pid] if self._worker else []

    def caller_pids(self) -> list[int]:
        """The caller."""
        return self._caller.pids if self._caller else []

    async def ask(self, **order: Any) -> float | None:
        """Give the caller an order; how long it took."""
        assert self._caller is not None
        return await self._caller.seconds(**order)


class Celery(theirs.Celery):
    """Celery as it comes: a job is acknowledged before it runs, and lost with its worker."""

    name = "celery"
    database = 1
    settings: ClassVar[dict[str, str]] = {}


class CeleryLate(theirs.Celery):
    """Celery whose jobs outlive their worker."""

    name = "celery late"
    database = 2


class Rq(theirs.Rq):
    """RQ; each worker forks for each job."""

    database = 3


class Dramatiq(Other):
    """Dramatiq, with as many processes as there are slots, of one thread each."""

    name = "dramatiq"
    database = 4

    def command(self) -> list[str]:
        worker = ["-p", str(self._slots), "-t", "1", "-Q", "bench", "--skip-logging", "--path", str(theirs.OTHERS)]
        return [str(VENV / "bin/dramatiq"), "dramatiq_tasks", *worker]


class Taskiq(Other):
    """Taskiq, with as many processes as there are slots, each of which runs many coroutines at a time."""

    name = "taskiq"
    database = 5

    def command(self) -> list[str]:
        worker = ["worker", "taskiq_tasks:broker", "--workers", str(self._slots), "--log-level", "WARNING"]
        return [str(VENV / "bin/taskiq"), *worker]


def missing() -> str | None:
    """Why nobody can be measured here, or None."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed (apt-get install redis-server)"
    return None


async def measure(plan: Plan, folder: Path, scripts: Path, slots: int, console: Console, *, ours_only: bool) -> Values:
    """Round by round, one system after another on one server; of several rounds the median."""
    notes = Notes()
    async with up(Redis(folder / "redis")) as redis:
        ours = Pumasi(folder / "pumasi", scripts, slots, redis)
        others = [] if ours_only else _others(folder, scripts, slots, redis)
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("", total=plan.rounds * (1 + len(others)))
            for number in range(plan.rounds):
                systems: list[Pumasi | Other] = [ours, *others]
                for system in systems if number % 2 == 0 else reversed(systems):
                    progress.update(task, description=system.name)
                    await _visit(plan, system, slots, redis, notes)
                    progress.advance(task)
    return notes.medians()


def _others(folder: Path, scripts: Path, slots: int, redis: Redis) -> list[Other]:
    kinds: Sequence[Callable[[Path, Path, int, Redis], Other]] = (Celery, CeleryLate, Rq, Dramatiq, Taskiq)
    return [kind(folder / f"other-{number}", scripts, slots, redis) for number, kind in enumerate(kinds)]


async def _visit(plan: Plan, system: Pumasi | Other, slots: int, redis: Redis, notes: Notes) -> None:
    """One system from its start to its end, on an empty server."""
    try:
        await system.come_up()
        await system.ask(do="run", count=10 * slots)
        await _throughput(plan, system, slots, redis, notes)
        seconds = [await system.ask(do="call") or 0.0 for _ in range(plan.calls)]
        notes.add_times("one call", system.name, seconds)
        for batch, what in ((False, "submits/s, one by one"), (True, "submits/s, in batches")):
            taken = await system.ask(do="submit", count=plan.submits, batch=batch)
            if taken:
                notes.add(what, system.name, plan.submits / taken)
    finally:
        await system.stop()
        _forget(redis)


async def _throughput(plan: Plan, system: Pumasi | Other, slots: int, redis: Redis, notes: Notes) -> None:
    trial = 25 * slots
    rate = trial / (await system.ask(do="run", count=trial) or 1.0)
    count = max(trial, round(rate * plan.seconds))
    server = [redis.program.pid] if redis.program else []
    who = {"worker": system.worker_pids(), "caller": system.caller_pids(), "server": server}
    before = {name: cpu_seconds(pids) for name, pids in who.items()}
    seconds = await system.ask(do="run", count=count) or 1.0
    notes.add("no-op, jobs/s", system.name, count / seconds)
    for name, pids in who.items():
        notes.add(f"no-op: CPU ms of the {name}", system.name, 1000 * (cpu_seconds(pids) - before[name]) / count)


def _forget(redis: Redis) -> None:
    """Nothing of one system is left for the next."""
    with socket.create_connection(("127.0.0.1", redis.port), timeout=60) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        connection.recv(100)
