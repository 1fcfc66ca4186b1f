"""The client for programs without an event loop: the asynchronous one, on a loop of its own in a thread of its own.

It may be used from several threads at once, and in a program that has a loop elsewhere. It closes as a context
manager, by `close`, or at the end of the program.
"""

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from msgspec import UNSET, UnsetType

from pumasi.client.asynchronous import AsyncClient
from pumasi.core.job import Event, Job, Page, Queue, Record, Stats, Worker
from pumasi.scripts.base import ScriptInfo

T = TypeVar("T")


class Client:
    """Submits jobs, waits for them, looks after them: see `AsyncClient`, whose methods these are.

    Raises: Invalid, when nothing can be behind `url`.
    """

    def __init__(self, url: str | None = None, *, token: str | None = None, scripts: str | Path | None = None) -> None:
        self._client = AsyncClient(url, token=token, scripts=scripts)
        self._loop = _Loop()
        self._end = weakref.finalize(self, _shut, self._client, self._loop)

    @property
    def url(self) -> str:
        """Whom it speaks to."""
        return self._client.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections and of the thread; safe to repeat. Jobs go on."""
        self._end()

    def submit(
        self,
        script: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """As `AsyncClient.submit`."""
        return self._do(self._client.submit(script, parameters, idempotency_key=idempotency_key, **options))

    def run(
        self,
        script: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        job_timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """As `AsyncClient.run`."""
        return self._do(self._client.run(script, parameters, timeout=timeout, job_timeout=job_timeout, **options))

    def wait(self, id: str, timeout: float | None = None) -> Job:
        """As `AsyncClient.wait`."""
        return self._do(self._client.wait(id, timeout))

    def get(self, id: str) -> Job:
        """As `AsyncClient.get`."""
        return self._do(self._client.get(id))

    def find(
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
        """As `AsyncClient.find`."""
        return self._do(
            self._client.find(
                state=state,
                script=script,
                queue=queue,
                labels=labels,
                since=since,
                parent=parent,
                dead=dead,
                cursor=cursor,
                limit=limit,
            )
        )

    def cancel(self, id: str) -> Job:
        """As `AsyncClient.cancel`."""
        return self._do(self._client.cancel(id))

    def retry(self, id: str, parameters: Mapping[str, Any] | None = None) -> Job:
        """As `AsyncClient.retry`."""
        return self._do(self._client.retry(id, parameters))

    def requeue(self, id: str, parameters: Mapping[str, Any] | None = None) -> Job:
        """As `AsyncClient.requeue`."""
        return self._do(self._client.requeue(id, parameters))

    def discard(self, id: str) -> Job:
        """As `AsyncClient.discard`."""
        return self._do(self._client.discard(id))

    def create_job(
        self,
        request_name: str,
        python_path: str,
        python_args: Sequence[str] = (),
        required_memory: float = 128,
        scheduled_date: datetime | None = None,
    ) -> str:
        """As `AsyncClient.create_job`."""
        return self._do(
            self._client.create_job(request_name, python_path, python_args, required_memory, scheduled_date)
        )

    def map(
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
    ) -> Iterator[Any]:
        """As `AsyncClient.map`."""
        return self._each(
            self._client.map(
                script,
                params_list,
                ordered=ordered,
                return_exceptions=return_exceptions,
                concurrency=concurrency,
                timeout=timeout,
                job_timeout=job_timeout,
                **options,
            )
        )

    def logs(self, id: str, follow: bool = False, *, after: int = 0) -> Iterator[Record]:
        """As `AsyncClient.logs`."""
        return self._each(self._client.logs(id, follow, after=after))

    def full_log(self, id: str) -> bytes:
        """As `AsyncClient.full_log`."""
        return self._do(self._client.full_log(id))

    def watch(self, job: str | None = None, *, queue: str | None = None, after: int | None = None) -> Iterator[Event]:
        """As `AsyncClient.watch`."""
        return self._each(self._client.watch(job, queue=queue, after=after))

    def artifacts(self, id: str) -> dict[str, int]:
        """As `AsyncClient.artifacts`."""
        return self._do(self._client.artifacts(id))

    def artifact(self, id: str, name: str) -> bytes:
        """As `AsyncClient.artifact`."""
        return self._do(self._client.artifact(id, name))

    def scripts(self) -> list[ScriptInfo]:
        """As `AsyncClient.scripts`."""
        return self._do(self._client.scripts())

    def workers(self) -> list[Worker]:
        """As `AsyncClient.workers`."""
        return self._do(self._client.workers())

    def queues(self) -> list[Queue]:
        """As `AsyncClient.queues`."""
        return self._do(self._client.queues())

    def set_queue(
        self,
        name: str,
        *,
        paused: bool | UnsetType = UNSET,
        max_pending: int | UnsetType | None = UNSET,
        ageing: float | UnsetType | None = UNSET,
        fair: bool | UnsetType = UNSET,
    ) -> Queue:
        """As `AsyncClient.set_queue`."""
        return self._do(self._client.set_queue(name, paused=paused, max_pending=max_pending, ageing=ageing, fair=fair))

    def stats(self) -> Stats:
        """As `AsyncClient.stats`."""
        return self._do(self._client.stats())

    def _do(self, call: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(call)

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """An async generator, item by item."""
        self._loop.streams.add(items)
        try:
            while True:
                try:
                    yield self._do(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.leave(items)


class _Loop:
    """An event loop in a thread, both begun with the first call and ended by `stop`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        #: those that somebody still reads from
        self.streams: set[Any] = set()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The outcome of a call, made in the loop; interrupted here, it is cancelled there."""
        try:
            loop = self._started()
        except RuntimeError:
            call.close()
            raise
        future = asyncio.run_coroutine_threadsafe(call, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def leave(self, stream: Any) -> None:
        """Have a stream closed, without waiting for it; nothing, once the loop has ended."""
        closing = _close(stream, self.streams)
        try:
            asyncio.run_coroutine_threadsafe(closing, self._started())
        except RuntimeError:
            closing.close()

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Make a last call, then end loop and thread."""
        with self._lock:
            self._stopped = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            last.close()
            return
        asyncio.run_coroutine_threadsafe(_ended(last, self.streams), loop)
        if threading.current_thread() is not thread:
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._stopped:
                raise RuntimeError("this client is closed")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_turn, args=[loop], name="pumasi-client", daemon=True)
                thread.start()  # a Ctrl-C in here leaves us as we were
                self._loop, self._thread = loop, thread
            return self._loop


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _ended(last: Coroutine[Any, Any, None], streams: set[Any]) -> None:
    """Cancel what is still going on, close the streams (each closes those within it), make the last call, stop."""
    loop = asyncio.get_running_loop()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    try:
        for stream in list(streams):
            await _close(stream, streams)
        await last
    finally:
        loop.stop()


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _close(stream: Any, streams: set[Any]) -> None:
    await stream.aclose()
    streams.discard(stream)


def _shut(client: AsyncClient, loop: _Loop) -> None:
    loop.stop(client.close())
