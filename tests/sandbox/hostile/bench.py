"""A worker at one level, the hostile jobs it is given, and what they leave behind."""

import asyncio
import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from pumasi.core.job import Job, State
from pumasi.sandbox import seccomp
from pumasi.sandbox.uids import BLOCK, RANGE
from pumasi.worker import Worker
from tests.harness import System
from tests.sandbox.hostile.expected import CASES, Expected

HERE = Path(__file__).parent
PRELUDE = (HERE / "scripts" / "prelude.py").read_text() + (
    f"\nNUMBERS = {dict(seccomp.NUMBERS.get(platform.machine(), {}))}\n"
)
NEXT = "def main():\n    return 'alive'\n"
SHARED_FOLDERS = ("/dev/shm", "/tmp", "/var/tmp", "/run/lock")
#: seconds for the job that follows, and growth of the worker over a module
SOON, GROWTH = 1.0, 30 << 20

libc = ctypes.CDLL(None, use_errno=True)


class Bench:
    """A system whose worker has run something already."""

    def __init__(self, level: str, system: System, worker: Worker) -> None:
        self.level, self.system, self.worker = level, system, worker
        self.root = os.geteuid() == 0
        self._baseline = (0, 0)
        self._memory = 0

    async def warm_up(self) -> None:
        """Both slots, both networks; from here on nothing may grow."""
        self.system.script("next.py", NEXT)
        self.system.script("offline/pumasi.toml", 'network = "none"')
        self.system.script("offline/main.py", NEXT)
        self.system.script("together.py", "import time\ndef main():\n    time.sleep(0.1)\n")
        await self.system.run("offline")
        for _ in range(3):
            jobs = [await self.system.submit("together") for _ in range(2)]
            for job in jobs:
                await self.system.end(job)
        await self.follow_up()
        self._baseline = counted()
        self._memory = psutil.Process().memory_info().rss

    def expected(self, name: str) -> Expected:
        return CASES[name].at(self.level, root=self.root)

    async def row(self, name: str, source: str, parameters: dict[str, Any] | None = None, **fields: Any) -> Job:
        """Run a case's script, and compare everything with what is declared."""
        job = await self.run(source, parameters, **fields)
        self.compare(name, job, [*said(job), *self.left_of(job)])
        await self.settled()
        return job

    def compare(self, name: str, job: Job, could: Sequence[str]) -> None:
        """Exactly the declared ending, and exactly the declared openings."""
        expected = self.expected(name)
        ended = f"{name} at {self.level} ended with {job.cause}, {expected.cause} is declared: {job.error}"
        assert (job.cause, job.isolation or self.level) == (expected.cause, self.level), ended
        assert job.state is (State.COMPLETED if expected.cause is None else State.FAILED)
        assert (expected.signal is None) or job.signal == expected.signal
        observed = set(could) - set(expected.may)
        could_not = (
            f"{name} at {self.level} could {sorted(observed)}, declared is {sorted(expected.can)}: {job.log_tail}"
        )
        assert observed == set(expected.can), could_not

    async def run(self, source: str, parameters: dict[str, Any] | None = None, **fields: Any) -> Job:
        return await self.system.end(await self.submit(source, parameters, **fields))

    async def submit(
        self, source: str, parameters: dict[str, Any] | None = None, *, offline: bool = False, **fields: Any
    ) -> Job:
        self.system.script("offline/main.py" if offline else "hostile.py", PRELUDE + source)
        return await self.system.submit("offline" if offline else "hostile", parameters, **fields)

    async def settled(self) -> None:
        """The next job runs at once, and the worker is as it was."""
        await self.follow_up()
        async with asyncio.timeout(5):
            while any(now > before for now, before in zip(counted(), self._baseline, strict=True)):
                await asyncio.sleep(0.01)

    async def follow_up(self) -> None:
        async with asyncio.timeout(SOON):
            job = await self.system.run("next")
        assert job.result == '"alive"', job.error

    def close(self) -> None:
        grown = psutil.Process().memory_info().rss - self._memory
        assert grown < GROWTH, f"the worker has grown by {grown >> 20} MB"

    # -- what is left -----------------------------------------------------------------------------------------------

    def left_of(self, job: Job) -> Iterator[str]:
        """Traces of a job that has ended; each is also removed, so that none reaches the next test."""
        mark = f"hx-{job.id[-12:]}"
        for process in self.processes(mark):
            yield "leave a process"
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for path in self.files(mark):
            yield f"leave a file in {path.parent}"
            path.unlink()
        if list((self.system.folder / "data" / "scratch").glob(f"*/{job.id}-*")):
            yield "leave its scratch"
        yield from left_in_memory(mark)
        if any(self.extra_groups()):
            yield "leave a cgroup"

    def processes(self, mark: str) -> Iterator[psutil.Process]:
        for process in psutil.process_iter(["uids", "name", "status"]):
            uids = process.info["uids"]
            ours = uids is not None and self.is_job(uids.real)
            if (ours or process.info["name"] == mark) and process.info["status"] != psutil.STATUS_ZOMBIE:
                yield process

    def files(self, mark: str) -> Iterator[Path]:
        for folder in SHARED_FOLDERS:
            with contextlib.suppress(OSError):
                for path in Path(folder).iterdir():
                    with contextlib.suppress(FileNotFoundError):
                        if mark in path.name or self.is_job(path.lstat().st_uid):
                            yield path

    def is_job(self, uid: int) -> bool:
        """Whether a user is that of a slot's jobs."""
        uids = self.worker._templates.host.uids
        if uids is None or not 0 <= uid - uids._base < RANGE:
            return False
        place = (uid - uids._base) % BLOCK
        return place > 0 and place % 2 == 0

    def extra_groups(self) -> Iterator[Path]:
        """Groups below those of slots and templates, and slots' that hold more than their keeper."""
        cgroups = self.worker._templates.host.cgroups
        for folder in {*cgroups._folders.values()} if cgroups is not None else ():
            for group in Path(folder).iterdir():
                if (group.is_dir() and any(path.is_dir() for path in group.iterdir())) or (
                    group.name.startswith("slot-") and len((group / "cgroup.procs").read_text().split()) > 1
                ):
                    yield group


def said(job: Job) -> list[str]:
    """What a script says it could do."""
    return list(msgspec.json.decode(job.result, type=list[str])) if job.result else []


def key_of(mark: str) -> int:
    return int(mark[-8:], 16) & 0x7FFFFFFF


def left_in_memory(mark: str) -> Iterator[str]:
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        key, number = line.split()[:2]
        if int(key) & 0xFFFFFFFF == key_of(mark):
            yield "leave shared memory"
            libc.shmctl(int(number), 0, None)
    queue = libc.mq_open(f"/{mark}".encode(), os.O_RDONLY)
    if queue >= 0:
        os.close(queue)
        yield "leave a message queue"
    libc.mq_unlink(f"/{mark}".encode())


def counted() -> tuple[int, int]:
    """Descriptors, and threads beside those that the loop keeps for blocking calls."""
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return len(os.listdir("/proc/self/fd")), len(threads)
