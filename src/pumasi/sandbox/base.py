"""What the runner tells a slot, and what it learns of a run."""

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from pumasi.core.job import Cause, Limits

#: why the keeper ended a run: one of its limits, or what the worker asked for
StopReason = Literal["cancelled", "lost", "drain", "output"]
Network = Literal["host", "none"]

#: one file or folder for so many bytes of a scratch
BYTES_PER_INODE = 16 * 1024
LEAST_INODES = 1024


class Need(Struct, frozen=True, kw_only=True):
    """What a job needs its process to come from: the key of a template."""

    network: Network = "host"
    #: modules to find imported already; then the template is this script's alone
    preload: tuple[str, ...] = ()
    #: content of the script, and the folder its imports are found in, below its own; "" without a preload
    digest: str = ""
    folder: str = ""


class Birth(Struct, frozen=True, kw_only=True):
    """One process to be born: where, and within which limits. Durations in seconds, sizes in bytes.

    What it is to run stands in the payload, which only the process itself reads.
    """

    #: working directory, and HOME, as the process sees them
    folder: str
    home: str
    #: the script's files, below the cache's folder
    source: str
    #: a scratch folder on disk: its name where the slot has a root of its own, else its path; "": in memory
    scratch: str = ""
    limits: Limits
    timeout: float | None
    #: between SIGTERM and SIGKILL
    grace: float
    nice: int
    #: whether it may make user namespaces, as a browser does for its own sandbox
    browser: bool = False
    #: kill when the lease has not been extended for so long; None: let it finish
    fence: float | None = None


class Ending(Struct, frozen=True, kw_only=True):
    """How a run ended, as observed by its keeper, and by the kernel's counters."""

    exit_code: int | None
    signal: int | None
    #: a cause of ours (`timeout`, `memory`, `cpu`, `processes`, `disk`), or the reason of a stop
    killed_by: str | None
    peaks: Limits
    seconds: float
    #: whether every process could be killed and reaped
    clean: bool
    #: whether the scratch was full, of bytes or of files
    disk_full: bool = False
    #: processes that the kernel refused to make
    refused_forks: int = 0
    #: the scratch, where that was a file system of its own; the receiver closes it
    scratch: int = -1


#: called with each warning: what, used, limit
OnWarning = Callable[[str, float, float | None], Any]

#: signals by which the kernel says which limit was met
SIGNAL_CAUSES = {24: Cause.CPU, 25: Cause.DISK}  # SIGXCPU, SIGXFSZ


def inodes_of(disk: int | None) -> int:
    """How many files and folders a scratch of so many bytes may hold."""
    return max(LEAST_INODES, (disk or 1 << 30) // BYTES_PER_INODE)


#: what a scratch in memory leaves of a memory limit: a share, and so many bytes at least
LEFT_SHARE, LEFT_LEAST = 8, 16 << 20


def in_memory(limits: Limits) -> Limits:
    """The limits of a run whose scratch counts as memory: a full one must still leave some for the run itself."""
    if limits.memory is None:
        return limits
    room = max(limits.memory - max(LEFT_LEAST, limits.memory // LEFT_SHARE), limits.memory // 2)
    return limits if limits.disk is not None and limits.disk <= room else replace(limits, disk=room)
