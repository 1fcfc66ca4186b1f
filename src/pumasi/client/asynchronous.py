"""The client for programs that run an event loop."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from msgspec import UNSET, UnsetType

from pumasi.client.asking import outcome, queried, requested
from pumasi.client.backoff import Backoff
from pumasi.client.spread import spread
from pumasi.client.target import Target
from pumasi.client.transport import Transport
from pumasi.closing import closing
from pumasi.core.job import Event, Job, Page, Queue, QueueSettings, Record, Stats, Worker
from pumasi.errors import JobFailed, QueueFull, Unavailable, WaitTimeout
from pumasi.scripts.base import ScriptInfo

R = TypeVar("R")

#: seconds by which a wait is cut into pieces
_PIECE = 30.0


class AsyncClient:
    """Submits jobs, waits for them, looks after them.

    `url` is a gateway (`http://…`) or a broker (`sqlite:///…`). Left out: the setting `url`, else the gateway that runs
    on the data folder, else the broker of the settings. `token` is the gateway's; `scripts` the folder of scripts when
    it speaks to a broker. Use it as an async context manager, in one event loop.

    Raises: Invalid, when nothing can be behind `url`.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, scripts: str | Path | None = None) -> None:
        self._target = Target(url, token, scripts)
        self._transport: Transport = self._target.transport()
        self._opening = asyncio.Lock()
        self._open = False
        self._closed = False

    @property
    def url(self) -> str:
        """Whom it speaks to."""
        return self._target.url

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of connections; safe to repeat. Jobs go on."""
        self._closed = True
        if self._open:
            self._open = False
            await self._transport.close()

    # -- jobs -------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        script: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """Have a script run: the job, once it is kept.

        `options` are the fields of a request: args, queue, priority, run_at, delay, timeout (of the job), limits,
        retry, unique, labels, result, expires … Asking again after a lost answer is safe, and is done here.

        Raises:
            BadFields: each one that cannot be, named.
            ScriptNotFound: near names are given.
            Conflict: a key belongs to another request.
            QueueFull: `retry_after` says when to try again.
            Denied, Unavailable: no token; nobody answers.
        """
        request = requested(script, parameters, options)
        key = idempotency_key or uuid.uuid4().hex
        return await self._again(lambda: self._transport.submit(request, key))

    async def run(
        self,
        script: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        job_timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Submit, wait, and give back the result's value.

        `timeout` bounds the waiting and nothing else (left out: the setting `wait_timeout`, 300 s); `job_timeout` is
        the time limit of a run of the job.

        Raises:
            JobFailed: it ended otherwise than completed; `error.job` is its record, with the cause.
            WaitTimeout: it has not ended in time; it goes on, and `error.job_id` names it.
            And what `submit` raises.
        """
        timeout = self._target.wait_timeout if timeout is None else timeout
        until = _now() + timeout
        job = await self.submit(script, parameters, timeout=job_timeout, **options)
        return outcome(await self._wait(job, until, timeout))

    async def wait(self, id: str, timeout: float | None = None) -> Job:
        """The job once it has ended, whoever it speaks to being restarted meanwhile.

        Raises: WaitTimeout, JobNotFound.
        """
        timeout = self._target.wait_timeout if timeout is None else timeout
        until = _now() + timeout
        return await self._wait(await self.get(id), until, timeout)

    async def get(self, id: str) -> Job:
        """A job by its id, or by a beginning of it that no other has. Raises: JobNotFound, Invalid (several)."""
        return await self._again(lambda: self._transport.get(id))

    async def find(
        self,
        *,
        state: str | Sequence[str] = (),
        script: str | None = None,
        queue: str | None = None,
        labels: Mapping[str, str] | None = None,
        since: float | str | None = None,
        parent: str | None = None,
        dead: bool = False,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page:
        """Jobs that are kept, newest first, `limit` (at most 1000) at a time; `cursor` of a page asks for the next.
        With `dead` only dead letters: failed jobs that nobody has looked after.

        A result of more than 256 KiB is left out here; `get` has it. Raises: Invalid.
        """
        query = queried(
            state, since, labels, script=script, queue=queue, parent=parent, dead=dead, cursor=cursor, limit=limit
        )
        return await self._again(lambda: self._transport.find(query))

    async def cancel(self, id: str) -> Job:
        """Cancel a job: ended at once when it waits; when it runs, its worker is told. Raises: JobNotFound, Invalid."""
        return await self._again(lambda: self._transport.cancel(id))

    async def retry(self, id: str, parameters: Mapping[str, Any] | None = None) -> Job:
        """A new job that asks for the same as one that has ended, or with `parameters` in place of the old ones.

        Raises: JobNotFound, Invalid, BadFields, Conflict.
        """
        key = uuid.uuid4().hex
        return await self._again(lambda: self._transport.retry(id, key, parameters))

    async def requeue(self, id: str, parameters: Mapping[str, Any] | None = None) -> Job:
        """As `retry`, of a dead letter, which is one no more; again, it is answered with the job that it made.

        Raises: as `retry`; Conflict also when it is none.
        """
        return await self._again(lambda: self._transport.requeue(id, parameters))

    async def discard(self, id: str) -> Job:
        """A dead letter that is one no more; its record stays. Raises: JobNotFound, Invalid, Conflict."""
        return await self._again(lambda: self._transport.discard(id))

    async def create_job(
        self,
        request_name: str,
        python_path: str,
        python_args: Sequence[str] = (),
        required_memory: float = 128,
        scheduled_date: datetime | None = None,
    ) -> str:
        """Insert a document as programs of MongoDB do it, into the broker at a `mongodb://` URL; the id of its job.

        It asks for `python_path` with these arguments, not before `scheduled_date` (one without an offset is this
        host's), where so many MB are free. It is sent once: after Unavailable it may be there or not.

        Raises: Invalid (another broker, a value of another kind), Unavailable.
        """
        await self._ready()
        return await self._transport.create_job(request_name, python_path, python_args, required_memory, scheduled_date)

    async def map(
        self,
        script: str,
        params_list: Iterable[Mapping[str, Any] | None],
        *,
        ordered: bool = True,
        return_exceptions: bool = False,
        concurrency: int = 64,
        timeout: float | None = None,
        job_timeout: float | None = None,
        **options: Any,
    ) -> AsyncIterator[Any]:
        """Run a script once for each of the parameters; results as they come, in the order of the parameters.

        At most `concurrency` jobs are out at one time; a full queue is waited for. With `ordered=False`, in the order
        in which they end. `timeout` bounds the wait for each job (left out: none). With `return_exceptions`, a
        JobFailed or WaitTimeout is yielded in its place; otherwise it is raised, and the jobs that are out go on.
        """
        limit = float("inf") if timeout is None else timeout

        async def one(parameters: Mapping[str, Any] | None) -> Any:
            job = await self._submit_patiently(script, parameters, {**options, "timeout": job_timeout})
            try:
                return outcome(await self._wait(job, _now() + limit, limit))
            except (JobFailed, WaitTimeout) as error:
                return _Failure(error)

        async with closing(spread(one, params_list, concurrency, ordered=ordered)) as results:
            async for result in results:
                if not isinstance(result, _Failure):
                    yield result
                elif return_exceptions:
                    yield result.error
                else:
                    raise result.error

    # -- what they print, leave behind, go through ----------------------------------------------------------------

    async def logs(self, id: str, follow: bool = False, *, after: int = 0) -> AsyncIterator[Record]:
        """What a job printed and said, behind the record `after`; with `follow`, as it comes, until it has ended."""
        await self._ready()
        async with closing(self._transport.logs(id, follow, after)) as records:
            async for record in records:
                yield record

    async def full_log(self, id: str) -> bytes:
        """What a job printed, in one: also what its log leaves out, where workers keep that (`full_log_limit`)."""
        return await self._again(lambda: self._transport.full_log(id))

    async def watch(
        self, job: str | None = None, *, queue: str | None = None, after: int | None = None
    ) -> AsyncIterator[Event]:
        """Jobs as they change: one, until it has ended; those of a queue; or all. `after` resumes behind an event."""
        await self._ready()
        async with closing(self._transport.watch(job, queue, after)) as events:
            async for event in events:
                yield event

    async def artifacts(self, id: str) -> dict[str, int]:
        """Names and sizes of the files a job left behind. Raises: JobNotFound, Invalid."""
        return await self._again(lambda: self._transport.artifacts(id))

    async def artifact(self, id: str, name: str) -> bytes:
        """One of these files. Raises: ArtifactNotFound, JobNotFound, Invalid."""
        return await self._again(lambda: self._transport.artifact(id, name))

    # -- everything else ----------------------------------------------------------------------------------------------

    async def scripts(self) -> list[ScriptInfo]:
        """The scripts there are; one that cannot be used has an `error`."""
        return await self._again(self._transport.scripts)

    async def workers(self) -> list[Worker]:
        """The workers that are alive, or were lost lately."""
        return await self._again(self._transport.workers)

    async def queues(self) -> list[Queue]:
        """The queues, and how full they are."""
        return await self._again(self._transport.queues)

    async def set_queue(
        self,
        name: str,
        *,
        paused: bool | UnsetType = UNSET,
        max_pending: int | UnsetType | None = UNSET,
        ageing: float | UnsetType | None = UNSET,
        fair: bool | UnsetType = UNSET,
    ) -> Queue:
        """Pause a queue, let it go on, bound it (None: the broker's default); let `ageing` seconds of waiting raise a
        job's priority by one (None: off), serve those that share it in turn (`fair`)."""
        settings = QueueSettings(paused=paused, max_pending=max_pending, ageing=ageing, fair=fair)
        return await self._again(lambda: self._transport.set_queue(name, settings))

    async def stats(self) -> Stats:
        """Kept jobs by state, script and cause; queues; workers."""
        return await self._again(self._transport.stats)

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _again(self, call: Callable[[], Awaitable[R]]) -> R:
        """The answer, asking again for a while when nobody is there."""
        await self._ready()
        backoff = Backoff()
        while True:
            try:
                return await call()
            except Unavailable:
                if not await backoff.pause():
                    raise

    async def _wait(self, job: Job, until: float, timeout: float) -> Job:
        """Ask until it has ended or the time is up. However long nobody answers: the job goes on without us."""
        backoff = Backoff(float("inf"))
        while not job.ended:
            left = until - _now()
            if left <= 0:
                raise WaitTimeout(id=job.id, timeout=timeout)
            try:
                job = await self._transport.wait(job.id, min(left, _PIECE))
                backoff = Backoff(float("inf"))
            except Unavailable:
                await backoff.pause(at_most=left)
        return job

    async def _submit_patiently(
        self, script: str, parameters: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Job:
        """As `submit`; a full queue is waited for."""
        while True:
            try:
                return await self.submit(script, parameters, **options)
            except QueueFull as error:
                await asyncio.sleep(error.retry_after)

    async def _ready(self) -> None:
        async with self._opening:
            if self._closed:
                raise RuntimeError("this client is closed")
            if not self._open:
                await self._transport.open()
                self._open = True


class _Failure:
    """An error on its way through `spread`, told from a result that is one."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _now() -> float:
    return asyncio.get_running_loop().time()
