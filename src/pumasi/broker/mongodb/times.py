"""How long announced steps are waited for.

Whatever takes several steps announces itself first: a change number in flight, a lane touched, a place reserved, a key
taken, a job staged. Each call to the server ends within `CALL` seconds, and nobody begins a last step later than
`IN_TIME` seconds after the first: so after `OVER` seconds, by the server's clock, what was announced and has not come
will not come any more, and whoever finds it may clear it away. When the server's clock is set forward, what is under
way looks old at once: then nothing is over until everybody has heard of the new time, and has come to an end since.
"""

import time
from datetime import UTC, datetime

from pumasi.broker.clock import JUMP, ServerClock
from pumasi.errors import Unavailable

#: seconds that a call to the server may take
CALL = 10.0
#: seconds within which a last step is begun
IN_TIME = 10.0
#: seconds after which an announced step will not come
OVER = 30.0
#: seconds between two answers of a server that say what time it is there
HELLO = 20.0
#: a time that never comes: what an index can hold in the place of nothing
NEVER = 1e18


class Clock(ServerClock):
    """The server's clock, and what is over by it."""

    _jumped = float("-inf")

    def heard(self, now: float) -> None:
        steady = self._steady()
        if self._ahead is not None and now - steady > self._ahead + JUMP:
            self._jumped = steady
        super().heard(now)

    def past(self) -> float:
        """What was announced at this time, or before, and has not come will not come any more."""
        if self.turned is None and self._steady() < self._jumped + HELLO + OVER:
            return float("-inf")
        return self.now() - OVER


class Stopwatch:
    """Time since the first step."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def in_time(self) -> None:
        """Before a last step. Raises: Unavailable, when others may have given up waiting for it."""
        if time.monotonic() - self._begun > IN_TIME:
            raise Unavailable("the steps before took too long; nothing was changed, and trying again is safe")


def seconds(at: datetime) -> float:
    """Unix time; a time without offset is UTC."""
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
