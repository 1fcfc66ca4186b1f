"""What a job uses: of its cgroup where there is one, else of each of its processes; and of its scratch."""

from __future__ import annotations

import os

from .tree import cpu_of, disk_of, memory_of, spent_by_reaped, tasks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tree import Tree


class Measured:
    """The counters of one job, from its birth on.

    Args:
        tree: its processes.
        meters: files of the slot's cgroup, open to be read; {} where there is none.
        scratch: its file system as an fd, or -1.
        folder: its scratch where that is a folder.
        allowed: bytes it may have there.
    """

    def __init__(self, tree: Tree, meters: dict[str, int], scratch: int, folder: str, allowed: int | None) -> None:
        self.tree, self.meters, self.scratch, self.folder, self.allowed = tree, meters, scratch, folder, allowed
        self.reaped_before = spent_by_reaped()
        self.before = {name: self.meter(name) for name in ("cpu", "oom") if name in meters}

    def read(self) -> dict[str, float]:
        """CPU in seconds, processes and threads, bytes of memory; how many of it the kernel killed for its memory."""
        if self.meters:
            return {
                "cpu": (self.meter("cpu") - self.before["cpu"]) if "cpu" in self.meters else self.spent(),
                "processes": self.meter("processes") - 1,  # the keeper
                "memory": self.meter("memory"),
                "killed": self.meter("oom") - self.before["oom"] if "oom" in self.meters else 0,
            }
        pids = self.tree.pids()
        return {
            "cpu": self.spent() + sum(cpu_of(pid) for pid in pids),
            "processes": sum(tasks_of(pid) for pid in pids),
            "memory": memory_of(pids),
            "killed": 0,
        }

    def spent(self) -> float:
        """Seconds of CPU of those that have been reaped."""
        return spent_by_reaped() - self.reaped_before

    def disk(self) -> tuple[int, bool]:
        """Bytes in the scratch, and whether it is full, of bytes or of files."""
        if self.scratch >= 0:
            seen = os.fstatvfs(self.scratch)
            full = self.allowed is not None and (seen.f_bavail == 0 or seen.f_favail == 0)
            return (seen.f_blocks - seen.f_bfree) * seen.f_frsize, full
        return disk_of(self.folder, self.allowed), False

    def keepsakes(self) -> list[int]:
        """What the worker is given to take the artifacts from."""
        return [self.scratch] if self.scratch >= 0 else []

    def meter(self, name: str) -> float:
        text = os.pread(self.meters[name], 4096, 0).decode()
        if name == "cpu":  # v2: "usage_usec N" comes first; v1: nanoseconds
            return int(text.split()[1]) / 1e6 if text.startswith("usage_usec") else int(text) / 1e9
        if name == "oom":
            return int(text.rpartition("oom_kill ")[2].split()[0])
        return int(text)
