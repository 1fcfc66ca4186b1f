"""Waiting for the end of a job on behalf of a caller: until it has ended, the time is up, the caller is gone, or the
gateway is about to stop (the caller then asks again, and finds another gateway or this one restarted)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from pumasi.broker import Broker
from pumasi.core.job import Job

T = TypeVar("T")

#: seconds of one wait at most; proxies cut longer ones
MAX_WAIT = 600.0
#: seconds of silence after which a stream says that it lives
KEEP_ALIVE = 15.0


async def wait_for_end(request: Request, broker: Broker, job: Job, seconds: float, draining: asyncio.Event) -> Job:
    """The record once the job has ended, or as it stands when waiting has no more sense."""
    if job.ended or seconds <= 0:
        return job
    done = await _first(broker.wait(job.id, min(seconds, MAX_WAIT)), _gone(request), draining.wait())
    return done if isinstance(done, Job) else await broker.get(job.id)


async def until_drain(source: AsyncIterator[T], draining: asyncio.Event) -> AsyncIterator[T | None]:
    """What a source yields as it comes, and None after each silence; ends with it, or when the gateway drains."""
    stop = asyncio.ensure_future(draining.wait())
    following = asyncio.ensure_future(_next(source))
    try:
        while True:
            await asyncio.wait({following, stop}, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                if stop.done():
                    return
                yield None
                continue
            try:
                item = following.result()
            except StopAsyncIteration:
                return
            yield item
            following = asyncio.ensure_future(_next(source))
    finally:
        await _cancelled(stop, following)
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def _gone(request: Request) -> None:
    """Returns when the caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _first(*waits: Coroutine[Any, Any, Any]) -> Any:
    """The outcome of the first to end; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        await _cancelled(*tasks)


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
