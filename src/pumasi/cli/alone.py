"""One job without a server: a broker in memory, an intake and a worker in this process."""

import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pumasi.broker import connect
from pumasi.cli import request
from pumasi.cli.follow import LogView
from pumasi.cli.service import signals
from pumasi.config import Settings
from pumasi.core.ids import new_id
from pumasi.core.job import Job
from pumasi.intake import Intake
from pumasi.locale import gettext as _
from pumasi.scripts.local import FileRepository
from pumasi.worker import Worker


class Alone:
    """A broker, an intake and a worker of one process, for one job."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.interrupted = 0
        self._view = LogView()
        self._url = f"memory://{new_id()}"
        self._broker = connect(self._url)
        self._id = ""

    @property
    def lines(self) -> int:
        """Lines of log that were shown."""
        return self._view.lines

    async def execute(self, file: Path, options: dict[str, Any]) -> Job:
        """The job, ended, its result inline. Raises: Invalid, and what a worker raises."""
        async with self._broker:
            repository = FileRepository(file)
            asked = request.requested({"script": repository.name, **options})
            self._id = (await Intake(self._broker, repository).submit(asked)).id
            # blobs too: this broker is nobody else's
            settings = self.settings.model_copy(update={"blobs": None})
            self._worker = Worker(settings, broker_url=self._url)
            working = asyncio.create_task(self._worker.run())
            telling = asyncio.create_task(self._show_log())
            try:
                with signals(self._interrupt):
                    await asyncio.wait({working, telling}, return_when=asyncio.FIRST_COMPLETED)
                    self._worker.drain()
                    await working
                await telling
            finally:
                telling.cancel()
            return await self._whole(await self._broker.get(self._id))

    async def _show_log(self) -> None:
        with self._view as view:
            async for record in self._broker.follow(self._id):
                await asyncio.to_thread(view.show, record)

    async def _whole(self, job: Job) -> Job:
        if job.result_blob is None:
            return job
        data = await self._broker.get_blob(job.result_blob)
        return replace(job, result=None if data is None else data.decode())

    def _interrupt(self, number: int) -> None:
        """The first signal cancels the job, which gives its script a moment; the second ends it at once."""
        if self.interrupted:
            self._worker.stop()
            return
        self.interrupted = number
        self._view.note(_("cancelling; once more to kill it at once"))
        self._cancelling = asyncio.ensure_future(self._broker.cancel(self._id))
