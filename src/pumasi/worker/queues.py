"""The queues a worker serves: names, and patterns (`shop-*`) that stand for the queues known at the time."""

import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

from pumasi.broker import Broker

_WILD = frozenset("*?[")


class Served:
    """Names and patterns; patterns are expanded against the broker's queues, never matched job by job."""

    def __init__(self, broker: Broker, wanted: Sequence[str], every: float) -> None:
        self._broker = broker
        self._names = tuple(name for name in wanted if _WILD.isdisjoint(name))
        self._patterns = tuple(name for name in wanted if not _WILD.isdisjoint(name))
        self._every = every
        self._expanded: tuple[str, ...] = ()
        self._at = float("-inf")

    async def now(self) -> tuple[str, ...]:
        """The queues to claim from; a new queue that a pattern means is seen within `every` seconds.

        Raises: Unavailable.
        """
        if self._patterns and time.monotonic() - self._at >= self._every:
            known = [queue.name for queue in await self._broker.queues()]
            self._expanded = tuple(
                name for name in known if any(fnmatchcase(name, pattern) for pattern in self._patterns)
            )
            self._at = time.monotonic()
        return tuple(dict.fromkeys((*self._names, *self._expanded)))
