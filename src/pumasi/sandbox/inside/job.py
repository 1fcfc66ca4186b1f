"""A job while it runs: its deadline, its watch, its end."""

from __future__ import annotations

import os
import select
import signal
import time

from .tree import signal_group
from .wire import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from .measure import Measured

    Message = dict[str, Any]

WATCH_SECONDS = 0.1  # first look; later looks are further apart
WATCH_SECONDS_MAX = 0.5
DISK_SECONDS = 1.0
HOT_SECONDS = 10.0  # CPU above 90 % for this long is worth a warning
#: exit code of a job's process whose set-up failed; the fault pipe says why
UNBORN = 126


class Job:
    """A job that runs: its deadline, its watch, its end."""

    def __init__(self, control: socket.socket, spec: Message, faults: int, what: Measured) -> None:
        self.control, self.faults, self.what = control, faults, what
        self.pid = 0
        self.limits, self.grace = spec["limits"], spec["grace"]
        self.began = time.monotonic()
        self.deadline = self.began + spec["timeout"] if spec["timeout"] is not None else None
        self.fence = self.began + spec["fence"] if spec["fence"] is not None else None
        self.kill_at: float | None = None
        self.killed_by: str | None = None
        self.peaks: dict[str, float] = {"memory": 0, "cpu": 0.0, "processes": 1, "disk": 0}
        self.full = False
        self.pause = WATCH_SECONDS
        self.look_at = self.began + self.pause
        self.disk_at = self.began + DISK_SECONDS
        self.hot_since, self.hot_cpu = self.began, 0.0
        self.warned: set[str] = set()

    def keep(self, pid: int) -> tuple[Message, list[int]]:
        """Until the main process has ended and no process of the job is left; what to tell of it, with descriptors."""
        self.pid = pid
        pidfd = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        while True:
            events = dict(poll.poll(max(0, (self.next_at() - time.monotonic()) * 1000 + 1)))
            if pidfd in events:
                break
            if self.control.fileno() in events and not self.hear():
                self.what.tree.kill_all()
                os._exit(0)
            self.check(time.monotonic())
        os.close(pidfd)
        return self.end()

    def next_at(self) -> float:
        return min(at for at in (self.deadline, self.fence, self.kill_at, self.look_at) if at is not None)

    def hear(self) -> bool:
        """Take one message of the worker's; False when it is gone."""
        message, _ = receive(self.control)
        if message is None:
            return False
        if "stop" in message:
            self.terminate(message["stop"], gently=message.get("gently", True))
        if "alive" in message and self.fence is not None:
            self.fence = time.monotonic() + message["alive"]
        return True

    def check(self, now: float) -> None:
        """What time has brought: the deadline, a lapsed lease, the end of grace, the next look."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self.terminate("timeout")
        if self.fence is not None and now >= self.fence:
            self.fence = None
            self.terminate("lost", gently=False)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = now + 1.0
            self.what.tree.kill()
        if now >= self.look_at:
            self.look(now)

    def terminate(self, why: str, gently: bool = True) -> None:
        """Begin to end it; the first reason stands."""
        if self.killed_by is not None and gently:
            return
        self.killed_by = self.killed_by or why
        if gently and self.grace > 0:
            self.kill_at = time.monotonic() + self.grace
            signal_group(self.pid, signal.SIGTERM)
            signal_group(self.pid, signal.SIGCONT)
        else:
            self.kill_at = time.monotonic() + 1.0
            self.what.tree.kill()

    def look(self, now: float) -> None:
        """Measure the whole of it against its limits."""
        self.what.tree.reap(self.pid)
        used = self.what.read()
        for what in ("cpu", "processes", "memory"):
            self.saw(what, used[what])
        if used["killed"] and self.killed_by is None:  # the kernel took one of them: all go, for this reason
            self.terminate("memory", gently=False)
        if now >= self.disk_at:
            began = time.monotonic()
            self.saw_disk()
            self.disk_at = now + max(DISK_SECONDS, 20 * (time.monotonic() - began))
        self.warn_of_heat(now, used["cpu"])
        self.pause = min(self.pause * 1.25, WATCH_SECONDS_MAX)
        if self.near("memory"):
            self.pause = WATCH_SECONDS
        self.look_at = time.monotonic() + self.pause

    def saw_disk(self) -> None:
        used, full = self.what.disk()
        self.full = self.full or full
        self.saw("disk", used)

    def saw(self, what: str, used: float) -> None:
        """Note a measurement; beyond its limit, kill; near its memory limit, warn once."""
        self.peaks[what] = max(self.peaks[what], used)
        allowed = self.limits.get(what)
        if allowed is not None and used > allowed and self.killed_by is None:
            self.terminate(what, gently=False)
        if what == "memory" and self.near(what):
            self.warn(what, used, allowed)

    def near(self, what: str) -> bool:
        allowed = self.limits.get(what)
        return allowed is not None and self.peaks[what] > 0.9 * allowed

    def warn_of_heat(self, now: float, cpu: float) -> None:
        if cpu - self.hot_cpu < 0.9 * (now - self.hot_since):
            self.hot_since, self.hot_cpu = now, cpu
        elif now - self.hot_since >= HOT_SECONDS:
            self.warn("cpu", round(cpu, 1), self.limits.get("cpu"))

    def warn(self, what: str, used: float, allowed: float | None) -> None:
        if what not in self.warned:
            self.warned.add(what)
            send(self.control, {"warn": what, "used": used, "limit": allowed})

    def end(self) -> tuple[Message, list[int]]:
        """The main process is gone: kill and reap the rest; how it went."""
        _, status, usage = os.wait4(self.pid, 0)
        seconds = time.monotonic() - self.began
        fault = self.fault(status)
        clean = self.what.tree.kill_all()
        if fault:
            return {"fault": fault}, []
        cpu = self.what.spent()
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            cpu = max(cpu, self.limits.get("cpu") or 0)  # by the kernel's own count, which ends it a little early
        self.peaks["cpu"] = max(self.peaks["cpu"], cpu)
        if not self.what.meters:
            self.peaks["memory"] = max(self.peaks["memory"], usage.ru_maxrss * 1024)
        killed_by = self.killed_by
        self.killed_by = killed_by or "ended"  # what the last look at the disk finds kills nothing any more
        self.saw_disk()
        ended: Message = {
            "ended": status,
            "killed_by": killed_by,
            "full": self.full,
            "peaks": {name: value if name == "cpu" else int(value) for name, value in self.peaks.items()},
            "seconds": seconds,
            "clean": clean,
        }
        return ended, self.what.keepsakes()

    def fault(self, status: int) -> str:
        """Why its set-up failed, if it did."""
        if not os.WIFEXITED(status) or os.WEXITSTATUS(status) != UNBORN:
            return ""
        try:
            return os.read(self.faults, 4096).decode("utf-8", "replace")
        except BlockingIOError:  # the script's own exit code
            return ""
