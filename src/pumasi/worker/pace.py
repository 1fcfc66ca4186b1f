"""When a worker does what it does again: waits that an event ends, growing delays, steps in the background."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

from pumasi.errors import Error
from pumasi.log import get_logger

log = get_logger(__name__)


def delays(first: float = 0.2, most: float = 10.0) -> Iterator[float]:
    """Seconds to wait between tries, for ever: exponential with full jitter."""
    ceiling = first
    while True:
        yield random.uniform(ceiling / 2, ceiling)
        ceiling = min(most, ceiling * 2)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


async def every(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    """Take a step again and again; one that the broker did not answer is left out."""
    while True:
        await asyncio.sleep(seconds * random.uniform(0.9, 1.1))
        try:
            await step()
        except (Error, OSError) as error:
            log.warning("worker.housekeeping_failed", reason=str(error))


@contextlib.asynccontextmanager
async def background(*steps: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Coroutines that run beside the body and end with it; their failure ends the body."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step) for step in steps]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
