"""How long announced steps are waited for.

Whatever takes several steps announces itself first: a change number in flight, a lane touched, a place reserved, a key
taken, a job staged. Each call to the server ends within `CALL` seconds, and nobody begins a last step later than
`IN_TIME` seconds after the first: so after `OVER` seconds, by the server's clock, what was announced and has not come
will not come any more, and whoever finds it may clear it away.
"""

import time

from pumasi.errors import Unavailable

#: seconds that a call to the server may take
CALL = 10.0
#: seconds within which a last step is begun
IN_TIME = 10.0
#: seconds after which an announced step will not come
OVER = 30.0
#: a time that never comes: what an index can hold in the place of nothing
NEVER = 1e18


class Stopwatch:
    """Time since the first step."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def in_time(self) -> None:
        """Before a last step. Raises: Unavailable, when others may have given up waiting for it."""
        if time.monotonic() - self._begun > IN_TIME:
            raise Unavailable("the steps before took too long; nothing was changed, and trying again is safe")
