"""The clock of a server, as leases need it.

Only the server's clock counts, and leases are times on it. Here its time is known by the offset of its last answer, so
that asking costs no round trip. When the server's clock is set, or its host sleeps, every lease lapses at once although
its owner lives; when the server was away, no owner could extend. For a short while after either no lapsed lease is to
be taken, so that owners refresh theirs first.
"""

import time
from collections.abc import Callable

#: seconds by which the server's clock may run ahead of the steady one between two answers
JUMP = 5.0
#: seconds during which owners may refresh their leases
CALM = 15.0


class ServerClock:
    """What is known of a server's time, and whether lapsed leases mean what they say.

    With `turned`, for tests, that is the time: answers are not listened to, and it is never calm.
    """

    def __init__(self, turned: Callable[[], float] | None = None, steady: Callable[[], float] = time.monotonic) -> None:
        self.turned = turned
        self._steady = steady
        self._ahead: float | None = None
        self._started: object = None
        self._heard_at = float("inf")
        self._calm_until = float("-inf")

    def now(self) -> float:
        """The server's Unix time; before its first answer, this host's."""
        if self.turned is not None:
            return self.turned()
        return time.time() if self._ahead is None else self._steady() + self._ahead

    def heard(self, now: float) -> None:
        """An answer came that says what time it is there."""
        steady = self._steady()
        ahead = now - steady
        if self._ahead is not None and ahead > self._ahead + JUMP:
            self._calm_until = steady + CALM
        self._ahead, self._heard_at = ahead, steady

    def met(self, started: object, age: float) -> None:
        """A connection was made to a server that began as `started` says, `age` seconds ago. It is told before the
        first answer on it: how long the server was out of reach is known by the last one before."""
        steady = self._steady()
        if started != self._started and age < CALM:
            self._calm_until = max(self._calm_until, steady + CALM - max(0.0, age))
        elif steady > self._heard_at + CALM:
            self._calm_until = steady + CALM
        self._started = started

    def calm(self) -> bool:
        """Whether lapsed leases are to be left to their owners for now."""
        return self.turned is None and self._steady() < self._calm_until
