"""The processes of a slot: finding them, killing all of them, and what they use, as /proc tells it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
MANY = 20  # processes above which shared memory is counted to each of them
MAX_FILES = 200_000  # in a scratch folder; more counts as its disk limit
CLEAN_SECONDS = 10.0  # to kill and reap everything


class Tree:
    """Everything below this process, which is its subreaper."""

    def pids(self) -> list[int]:
        """Of all its processes, zombies left out."""
        found, todo = [], children(os.getpid())
        while todo:
            pid = todo.pop()
            todo += children(pid)
            if state_of(pid) not in ("Z", "X", ""):
                found.append(pid)
        return found

    def kill(self) -> None:
        """Kill everything, so that nothing can fork away from the kill.

        First its groups as a whole: the kernel does that in one step no fork can slip through. Then what has left them,
        each process stopped before its children are looked up.
        """
        for pid in children(os.getpid()):
            signal_group(pid, signal.SIGKILL)
        stopped: set[int] = set()
        todo = children(os.getpid())
        while todo:
            for pid in todo:
                stopped.add(pid)
                signal_one(pid, signal.SIGSTOP)
            todo = [pid for parent in todo for pid in children(parent)]
            todo = [pid for pid in (*todo, *children(os.getpid())) if pid not in stopped]
        for pid in stopped:
            signal_one(pid, signal.SIGKILL)

    def kill_all(self) -> bool:
        """Until no process is left; False when some would not die in time."""
        until = time.monotonic() + CLEAN_SECONDS
        while True:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                if time.monotonic() > until:
                    return False
                self.kill()
                wait_for_a_child(0.05)
            except ChildProcessError:
                return True

    def reap(self, main: int) -> None:
        """Collect what orphans have ended, but never the main process: its end is awaited elsewhere."""
        for pid in children(os.getpid()):
            if pid != main and state_of(pid) == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


class Slot(Tree):
    """Everything in the process namespace that this process is number 1 of."""

    def pids(self) -> list[int]:
        """Of all its processes, zombies left out."""
        mine = os.getpid()
        numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in numbers if pid != mine and state_of(pid) not in ("Z", "X", "")]

    def kill(self) -> None:
        """All but this process, in one step of the kernel's that no fork can slip through."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)


def children(pid: int) -> list[int]:
    """Direct children, of any of its threads."""
    pids = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            pids += [int(child) for child in read(f"/proc/{pid}/task/{thread}/children").split()]
    except OSError:
        pass
    return pids


def wait_for_a_child(seconds: float) -> None:
    """Sleep until a child is to be reaped, `seconds` at most."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            signal.sigtimedwait([signal.SIGCHLD], seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def signal_one(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


# -- measuring -----------------------------------------------------------------------------------------------------


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; [] when it is gone."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return []


def state_of(pid: int) -> str:
    return (stat_of(pid) or [""])[0]


def cpu_of(pid: int) -> float:
    """Seconds of CPU a process has used, with those of its children that it has reaped."""
    fields = stat_of(pid)
    return sum(int(ticks) for ticks in fields[11:15]) / TICK if fields else 0.0


def tasks_of(pid: int) -> int:
    """Its threads: each counts as a process, as the kernel counts them."""
    fields = stat_of(pid)
    return int(fields[17]) if fields else 0


def memory_of(tree: list[int]) -> int:
    """Bytes the processes hold; what they share is counted once, unless there are very many."""
    if len(tree) == 1 or len(tree) > MANY:
        return sum(resident_of(pid) for pid in tree)
    return sum(proportional_of(pid) for pid in tree)


def resident_of(pid: int) -> int:
    try:
        return int(read(f"/proc/{pid}/statm").split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def proportional_of(pid: int) -> int:
    try:
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resident_of(pid)


def spent_by_reaped() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def disk_of(folder: str, allowed: int | None) -> int:
    """Bytes below a folder; too many files count as more than is allowed."""
    total = files = 0
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    files += 1
                    if files > MAX_FILES:
                        return (allowed or total) + 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue
    return total


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
