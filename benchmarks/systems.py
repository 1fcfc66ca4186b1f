"""What every system is asked, and the floor: the same scripts without any queue."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.fixture import SCRIPTS
from benchmarks.processes import cpu_seconds, pss_bytes


class System(ABC):
    """A way to run scripts. Times are in seconds, seen from the caller's side."""

    name: ClassVar[str]

    @abstractmethod
    async def start(self) -> None:
        """Up, and warm: ready to take the first job."""

    @abstractmethod
    async def stop(self) -> None:
        """Down, nothing left; also when it never came up."""

    @abstractmethod
    async def run(self, script: str, count: int) -> float:
        """Submit `count` jobs at once, and wait until the last one has its result."""

    @abstractmethod
    async def call(self, script: str) -> float:
        """Submit one job on the idle system, and wait for its result."""

    async def submit(self, count: int, *, batch: bool) -> float | None:
        """Submit so many jobs that nobody runs, one by one or together; None where that cannot be done."""
        return None

    def cpu(self) -> float:
        """CPU seconds used so far by its worker, its scripts, and its store where that is a process of its own."""
        return cpu_seconds(self.pids())

    def memory(self) -> int:
        """Bytes (PSS) that its worker has, without the store."""
        return pss_bytes(self.worker_pids())

    @abstractmethod
    def pids(self) -> list[int]:
        """Its worker, and its store where that is a process of its own."""

    @abstractmethod
    def worker_pids(self) -> list[int]:
        """Its worker alone."""


class Bare(System):
    """`subprocess` in as many threads as there are slots: what the scripts themselves cost."""

    name = "bare"

    def __init__(self, folder: Path, slots: int) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(slots)

    async def start(self) -> None:
        for script in SCRIPTS:
            await self.run(script, 1)

    async def stop(self) -> None:
        self._pool.shutdown()

    def cpu(self) -> float:
        times = os.times()
        return times.children_user + times.children_system

    def pids(self) -> list[int]:
        return []

    def worker_pids(self) -> list[int]:
        return []

    async def run(self, script: str, count: int) -> float:
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._pool, self._run, script) for _ in range(count)))
        return time.perf_counter() - began

    async def call(self, script: str) -> float:
        return await self.run(script, 1)

    def _run(self, script: str) -> None:
        subprocess.run([sys.executable, str(self._folder / SCRIPTS[script])], check=True, capture_output=True)


@contextlib.asynccontextmanager
async def up(system: Any) -> AsyncIterator[Any]:
    """A system while it is up."""
    try:
        await system.start()
        yield system
    finally:
        await system.stop()
