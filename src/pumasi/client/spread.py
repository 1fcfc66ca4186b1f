"""Many calls, so many at a time: what `map` is made of."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def spread(
    call: Callable[[T], Awaitable[R]], items: Iterable[T], concurrency: int, *, ordered: bool
) -> AsyncIterator[R]:
    """The answers for all items, at most `concurrency` calls at a time; in the order of the items, or as they come.

    Left early, it cancels the calls that are out.
    """
    source = iter(items)
    out: deque[asyncio.Future[R]] = deque()
    exhausted = False
    try:
        while True:
            while not exhausted and len(out) < concurrency:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                else:
                    out.append(asyncio.ensure_future(call(item)))
            if not out:
                return
            awaited = [out[0]] if ordered else list(out)
            done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            first = next(task for task in out if task in done)
            out.remove(first)
            yield first.result()
    finally:
        for task in out:
            task.cancel()
        await asyncio.gather(*out, return_exceptions=True)
