"""A whole Pumasi in one process, for tests: a folder of scripts, a broker, an intake, a worker."""

import asyncio
import contextlib
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from pumasi.broker import connect
from pumasi.config import Settings
from pumasi.core.job import Job
from pumasi.intake import Intake, JobRequest
from pumasi.scripts.local import LocalRepository
from pumasi.worker import Worker


class System:
    """What a test speaks to. Jobs wait until a worker runs (`working`)."""

    def __init__(self, folder: Path, url: str | None = None, **settings: Any) -> None:
        self.folder = folder
        self.scripts = folder / "scripts"
        self.scripts.mkdir(exist_ok=True)
        self.url = url or f"memory://{folder}"
        options = {"data_dir": folder / "data", "scripts": self.scripts, "broker": self.url, "grace": 0.3, "drain": 5.0}
        self.settings = Settings.load(**(options | settings))
        self.broker = connect(self.url)
        self._task: asyncio.Task[int] | None = None
        self.intake = Intake(self.broker, LocalRepository(self.scripts))

    def script(self, name: str, source: str) -> None:
        """Write `scripts/NAME`, a path below the folder."""
        path = self.scripts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))

    async def submit(self, script: str, parameters: dict[str, Any] | None = None, **fields: Any) -> Job:
        """Submit a job, as a caller would."""
        return await self.intake.submit(JobRequest(script=script, parameters=parameters, **fields))

    async def run(self, script: str, parameters: dict[str, Any] | None = None, **fields: Any) -> Job:
        """Submit a job and wait for its end."""
        return await self.end(await self.submit(script, parameters, **fields))

    async def end(self, job: Job, timeout: float = 30.0) -> Job:
        """The record once the job has ended."""
        if self._task is not None and self._task.done():
            self._task.result()
        done = await self.broker.wait(job.id, timeout)
        assert done.ended, f"job {job.id} has not ended: {done}"
        return done

    async def log(self, job: Job) -> str:
        """All that is kept of a job's log, one stream after another as it came."""
        return b"".join(record.data for record in await self.broker.read(job.id)).decode("utf-8", "replace")

    async def until(self, job: Job, condition: Callable[[Job], bool], timeout: float = 10.0) -> Job:
        """The record once it meets a condition."""
        async with asyncio.timeout(timeout):
            while not condition(job := await self.broker.get(job.id)):
                await self.broker.hint("changes", f"job:{job.id}", timeout=0.05)
        return job

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["System"]:
        """With the broker connected."""
        async with self.broker:
            yield self

    @contextlib.asynccontextmanager
    async def working(self, **changes: Any) -> AsyncIterator[Worker]:
        """With a worker that runs jobs; drained at the end."""
        worker = Worker(self.settings.model_copy(update=changes), broker_url=self.url)
        task = self._task = asyncio.create_task(worker.run())
        ready = asyncio.create_task(worker.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        try:
            yield worker
        finally:
            worker.drain()
            self.exit_code = await task
