"""A place as coroutines see it: its blocking calls are made in threads of their own, and none is waited for forever."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pumasi.broker.places.base import DEADLINE, Item, Place
from pumasi.errors import Unavailable

T = TypeVar("T")

#: bytes a second that a place must take and give, beyond what DEADLINE allows
SLOWEST = 512 * 1024
#: threads, and so things done at the same time: a place that hangs holds up nothing else
TOGETHER = 8


class Outside:
    """A place, with deadlines. Every call raises Unavailable, or Invalid."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place
        self._threads: ThreadPoolExecutor | None = None

    async def check(self) -> None:
        """See that it can be used."""
        await self._within(DEADLINE, self._place.check)

    async def close(self) -> None:
        """Let go of the threads, also of those that hang; safe to repeat."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    async def put(self, key: str, data: bytes) -> None:
        """Keep bytes in place of what was there."""
        await self._within(_patience(len(data)), partial(self._place.put, key, data))

    async def get(self, key: str) -> bytes | None:
        """What lies under a key."""
        found = await self._within(DEADLINE, partial(self._place.find, key))
        return await self._within(_patience(found.size), found.read) if found else None

    async def items(self, prefix: str) -> AsyncIterator[list[Item]]:
        """What lies under keys that begin with `prefix`, some at a time."""
        steps = self._place.items(prefix)
        while (items := await self._within(DEADLINE, partial(next, steps, None))) is not None:
            yield items

    async def delete(self, items: Sequence[Item]) -> None:
        """Remove these, unless they were written anew."""
        for first in range(0, len(items), TOGETHER):
            some = items[first : first + TOGETHER]
            await asyncio.gather(*(self._within(DEADLINE, partial(self._place.delete, item)) for item in some))

    async def _within(self, seconds: float, work: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(TOGETHER, "blobs")
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError as error:
            text = "{place} has not answered within {seconds} s; see whether it is well, and the way to it"
            raise Unavailable(text, place=self.name, seconds=round(seconds)) from error


def _patience(size: int) -> float:
    return DEADLINE + size / SLOWEST
