"""What the runner tells a slot, and what it learns of a run."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from pumasi.core.job import Cause, Limits

#: why the keeper ended a run: one of its limits, or what the worker asked for
StopReason = Literal["cancelled", "lost", "drain", "output"]


class Birth(Struct, frozen=True, kw_only=True):
    """One process to be born: the program, its closed environment, its limits. Durations in seconds, sizes in bytes."""

    argv: Sequence[str]
    env: dict[str, str]
    #: working directory: the script's private view
    folder: str
    #: everything the script may write, watched against `limits.disk`
    scratch: str
    limits: Limits
    timeout: float | None
    #: between SIGTERM and SIGKILL
    grace: float
    nice: int
    #: kill when the lease has not been extended for so long; None: let it finish
    fence: float | None = None


class Ending(Struct, frozen=True, kw_only=True):
    """How a run ended, as observed by its keeper."""

    exit_code: int | None
    signal: int | None
    #: a cause of ours (`timeout`, `memory`, `cpu`, `processes`, `disk`), or the reason of a stop
    killed_by: str | None
    peaks: Limits
    seconds: float
    #: whether every process could be killed and reaped
    clean: bool


#: called with each warning: what, used, limit
OnWarning = Callable[[str, float, float | None], Any]

#: signals by which the kernel says which limit was met
SIGNAL_CAUSES = {24: Cause.CPU, 25: Cause.DISK}  # SIGXCPU, SIGXFSZ
