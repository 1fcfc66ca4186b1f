"""How much a worker takes on: jobs whose `required_memory` fits into what it may use, and none when its disk is nearly
full."""

import os
from pathlib import Path

import psutil

#: of the memory available when a worker starts, unless a setting says how much
SHARE = 0.8
#: bytes that must be free where scratch folders and the spool lie
DISK_FLOOR = 256 * 1024 * 1024


class Admission:
    """The memory that jobs count against."""

    def __init__(self, memory: int | None, folder: Path) -> None:
        self.total = memory if memory is not None else int(psutil.virtual_memory().available * SHARE)
        self.used = 0
        self._folder = folder

    @property
    def free(self) -> int:
        """Bytes that jobs not yet claimed may count on."""
        return self.total - self.used

    def disk_is_short(self) -> bool:
        """Whether another job could leave the worker without room for what it must write itself."""
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize < DISK_FLOOR
