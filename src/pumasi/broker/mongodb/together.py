"""Several steps at once, all of which come to their end; and tasks that must."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")

#: seconds after which a task that does not end is cancelled again
_AGAIN = 0.2


async def together(steps: Iterable[Awaitable[T]]) -> list[T]:
    """What each gives, in order. When one fails the others are waited for all the same: none is left under way."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def given_up(task: "asyncio.Task[None]") -> None:
    """Cancel a task until it has ended: a cancellation that meets an answer can be lost on its way through the driver
    (`asyncio.wait_for` of Python 3.11 prefers the answer)."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN)
