"""Straight to a broker, with scripts from a folder of this machine."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from pumasi.broker import Broker, connect, create_job
from pumasi.client.transport import Transport
from pumasi.closing import closing
from pumasi.core import job as core
from pumasi.core.job import Event, Job, Page, Query, Queue, QueueSettings, Record, Stats, Worker
from pumasi.intake import Intake, JobRequest, locate
from pumasi.scripts.base import Repository, ScriptInfo


class DirectTransport(Transport):
    """What a gateway would do, done here. Raises: Invalid (a URL that is no broker's, a backend still to come)."""

    def __init__(self, url: str, repository: Repository, *, blobs: str | None = None) -> None:
        self._broker: Broker = connect(url, blobs=blobs)
        self._repository = repository
        self._intake = Intake(self._broker, repository)

    async def open(self) -> None:
        await self._broker.open()

    async def close(self) -> None:
        await self._broker.close()

    async def submit(self, request: JobRequest, key: str) -> Job:
        return await self._intake.submit(request, idempotency_key=key)

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Job]:
        return await self._intake.submit_many(requests)

    async def get(self, id: str) -> Job:
        return await self._whole(await locate(self._broker, id))

    async def wait(self, id: str, seconds: float) -> Job:
        return await self._whole(await self._broker.wait(id, seconds))

    async def find(self, query: Query) -> Page:
        return await self._broker.find(query)

    async def cancel(self, id: str) -> Job:
        return await self._broker.cancel(await self._id(id))

    async def retry(self, id: str, key: str, parameters: Mapping[str, Any] | None) -> Job:
        return await self._intake.retry(id, parameters=_asked(parameters), idempotency_key=key)

    async def requeue(self, id: str, parameters: Mapping[str, Any] | None) -> Job:
        return await self._intake.requeue(id, parameters=_asked(parameters))

    async def discard(self, id: str) -> Job:
        return await self._intake.discard(id)

    async def create_job(self, *values: Any) -> str:
        return await create_job(self._broker, *values)

    async def logs(self, id: str, follow: bool, after: int) -> AsyncIterator[Record]:
        full = await self._id(id)
        if follow:
            async with closing(self._broker.follow(full, after)) as records:
                async for record in records:
                    yield record
            return
        while page := await self._broker.read(full, after):
            for record in page:
                yield record
            after = page[-1].seq

    async def full_log(self, id: str) -> bytes:
        return await self._broker.whole_log(await locate(self._broker, id))

    async def watch(self, job: str | None, queue: str | None, after: int | None) -> AsyncIterator[Event]:
        query = core.Query(queue=queue)
        if job is not None:
            record = await locate(self._broker, job)
            if after is None or record.change > after:
                yield Event(record.change, record)
            if record.ended:
                return
            query, after = core.Query(ids=(record.id,)), max(record.change, after or 0)
        async with closing(self._broker.watch(query, after)) as events:
            async for event in events:
                yield event
                if job is not None and event.job.ended:
                    return

    async def artifacts(self, id: str) -> dict[str, int]:
        return await self._broker.artifacts(await locate(self._broker, id))

    async def artifact(self, id: str, name: str) -> bytes:
        return await self._broker.artifact(await locate(self._broker, id), name)

    async def scripts(self) -> list[ScriptInfo]:
        return await self._repository.list()

    async def workers(self) -> list[Worker]:
        return await self._broker.workers()

    async def queues(self) -> list[Queue]:
        return await self._broker.queues()

    async def set_queue(self, name: str, settings: QueueSettings) -> Queue:
        return await self._broker.set_queue(name, settings)

    async def stats(self) -> Stats:
        return await self._broker.stats()

    async def _id(self, id: str) -> str:
        return (await locate(self._broker, id)).id

    async def _whole(self, job: Job) -> Job:
        """The record with its result inline, however large."""
        text = await self._broker.result(job)
        return job if job.result_blob is None else replace(job, result=text, result_blob=None)


def _asked(parameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if parameters is None else dict(parameters)
