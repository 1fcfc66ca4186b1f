"""The clock of a host, as leases need it.

All processes of a host share its wall clock, and leases are times on it. When the host sleeps, or its clock is set,
every lease lapses at once although its owner lives: for a short while after such a jump no lapsed lease is to be taken,
so that owners refresh theirs first.
"""

import time
from collections.abc import Callable

#: seconds by which the wall clock may run ahead of the steady one between two looks
JUMP = 5.0
#: seconds during which owners may refresh their leases
CALM = 15.0


class HostClock:
    """Wall time, and whether lapsed leases mean what they say. A steady clock stands still while the host sleeps."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._ahead = wall() - steady()
        self._calm_until = float("-inf")

    def now(self) -> float:
        """Unix time."""
        return self._wall()

    def calm(self) -> bool:
        """Whether the wall clock has jumped lately: then lapsed leases are left to their owners."""
        now, steady = self._wall(), self._steady()
        if now - steady > self._ahead + JUMP:
            self._calm_until = steady + CALM
        self._ahead = now - steady
        return steady < self._calm_until
