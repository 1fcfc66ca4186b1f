"""Asking again: pauses that grow, with jitter, for a bounded time."""

import asyncio
import random

#: seconds that a call which found nobody goes on asking
PATIENCE = 5.0
_FIRST = 0.05
_LONGEST = 2.0


class Backoff:
    """Pauses between tries, until `patience` seconds have passed since the first."""

    def __init__(self, patience: float | None = None) -> None:
        self._patience = PATIENCE if patience is None else patience
        self._until: float | None = None
        self._tries = 0

    async def pause(self, *, at_most: float = _LONGEST) -> bool:
        """Wait before another try, `at_most` seconds; False, at once, when the patience is used up."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._patience
        left = self._until - now
        if left <= 0:
            return False
        longest = min(_LONGEST, _FIRST * 2**self._tries)
        self._tries = min(self._tries + 1, 10)
        await asyncio.sleep(min(left, at_most, longest * (0.5 + random.random() / 2)))
        return True
