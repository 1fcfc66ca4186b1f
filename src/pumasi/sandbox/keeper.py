"""The keeper of a slot: runs one job after another, and leaves nothing of any.

Stdlib only, Python >= 3.9, single-threaded; started as `python -I -S keeper.py FD`, where FD is its end of a
SOCK_SEQPACKET pair. Messages are JSON objects:

    to the keeper    {"run": spec}  with fds stdout, stderr, payload, report
                     {"stop": why}  SIGTERM, the grace time, SIGKILL
                     {"alive": s}   the lease holds for another s seconds (only where a lapsed lease must kill)
    from the keeper  {"started": pid} · {"warn": what, "used": n, "limit": n}
                     {"ended": status, "killed_by": cause or null, "peaks": {…}, "seconds": s, "clean": bool}
                     {"fault": text}  the set-up failed before the script began

End of file on the socket means the worker is gone: everything is killed, and the keeper ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import, and this process is small
    from typing import Any, NoReturn

    Message = dict[str, Any]

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
SYS_CLOSE_RANGE = 436  # the same on every architecture
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")

WATCH_SECONDS = 0.1  # first look; later looks are further apart
WATCH_SECONDS_MAX = 0.5
DISK_SECONDS = 1.0
HOT_SECONDS = 10.0  # CPU above 90 % for this long is worth a warning
MANY = 20  # processes above which shared memory is counted to each of them
MAX_FILES = 200_000  # in the scratch folder; more counts as its disk limit
CLEAN_SECONDS = 10.0  # to kill and reap everything

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Serve jobs until the worker is gone."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker decides; a terminal's Ctrl-C reaches it as well
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while True:
        message, fds = receive(control)
        if message is None:
            return
        if "run" in message:
            serve(control, message["run"], fds)


def serve(control: socket.socket, spec: Message, fds: list[int]) -> None:
    """One job, from birth to the last of its processes."""
    faults, faulty = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        birth(spec, fds, faulty)
    os.close(faulty)
    for fd in fds:
        os.close(fd)
    fault = os.read(faults, 4096)  # end of file: exec has closed it
    os.close(faults)
    if fault:
        os.waitpid(pid, 0)
        send(control, {"fault": fault.decode("utf-8", "replace")})
        return
    send(control, {"started": pid})
    Job(control, spec, pid).keep()


def birth(spec: Message, fds: list[int], faulty: int) -> NoReturn:
    """In the child: the set-up, in the order that it needs, then the program. Never returns."""
    try:
        os.setsid()
        faulty = place(fds, faulty)
        limit(spec["limits"])
        os.nice(spec["nice"])
        write("/proc/self/oom_score_adj", "500")
        os.umask(0o077)
        os.chdir(spec["folder"])
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        restore_signals()
        os.execve(spec["argv"][0], spec["argv"], spec["env"])
    except BaseException as error:  # told to the worker; nothing else may run here
        os.write(faulty, f"{type(error).__name__}: {error}"[:4000].encode())
    finally:
        os._exit(126)


def place(fds: list[int], faulty: int) -> int:
    """stdin from nothing, then stdout, stderr, payload, report; the fault pipe stays until exec; all else is closed."""
    null = os.open("/dev/null", os.O_RDONLY)
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (null, *fds, faulty)]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=number < len(high) - 1)
    if libc.syscall(SYS_CLOSE_RANGE, len(high), 0xFFFFFFFF, 0) != 0:
        os.closerange(len(high), 65536)
    return len(high) - 1


def limit(limits: dict[str, Any]) -> None:
    """What the kernel enforces of one process; the watch adds up the tree."""
    set_limit(resource.RLIMIT_CORE, 0)
    set_limit(resource.RLIMIT_NOFILE, limits.get("open_files"))
    set_limit(resource.RLIMIT_FSIZE, limits.get("disk"))
    cpu = limits.get("cpu")
    if cpu is not None:
        whole = max(1, int(cpu + 0.999))
        set_limit(resource.RLIMIT_CPU, whole, whole + 5)


def set_limit(which: int, soft: int | None, hard: int | None = None) -> None:
    """Set a limit, never above the hard limit there is."""
    if soft is None:
        return
    ceiling = resource.getrlimit(which)[1]
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, wanted = min(soft, ceiling), min(wanted, ceiling)
    resource.setrlimit(which, (soft, wanted))


def restore_signals() -> None:
    """As a fresh process expects them: Python's own exceptions (SIGPIPE, SIGXFSZ) are its interpreter's business."""
    for number in signal.valid_signals():
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Job:
    """A job that runs: its deadline, its watch, its end."""

    def __init__(self, control: socket.socket, spec: Message, pid: int) -> None:
        self.control, self.pid = control, pid
        self.limits, self.grace, self.scratch = spec["limits"], spec["grace"], spec["scratch"]
        self.began = time.monotonic()
        self.deadline = self.began + spec["timeout"] if spec["timeout"] is not None else None
        self.fence = self.began + spec["fence"] if spec["fence"] is not None else None
        self.kill_at: float | None = None
        self.killed_by: str | None = None
        self.cpu_before = spent_by_reaped()
        self.peaks: dict[str, float] = {"memory": 0, "cpu": 0.0, "processes": 1, "disk": 0}
        self.pause = WATCH_SECONDS
        self.look_at = self.began + self.pause
        self.disk_at = self.began + DISK_SECONDS
        self.hot_since, self.hot_cpu = self.began, 0.0
        self.warned: set[str] = set()

    def keep(self) -> None:
        """Until the main process has ended and nothing of the job is left."""
        pidfd = os.pidfd_open(self.pid)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self.control, select.POLLIN)
        while True:
            events = dict(poll.poll(max(0, (self.next_at() - time.monotonic()) * 1000 + 1)))
            if pidfd in events:
                break
            if self.control.fileno() in events and not self.hear():
                kill_all()
                os._exit(0)
            self.check(time.monotonic())
        os.close(pidfd)
        self.end()

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
            kill_tree()
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
            kill_tree()

    def look(self, now: float) -> None:
        """Measure the tree against its limits."""
        reap(self.pid)
        tree = descendants()
        cpu = spent_by_reaped() - self.cpu_before + sum(cpu_of(pid) for pid in tree)
        tasks = sum(tasks_of(pid) for pid in tree)
        self.saw("cpu", cpu)
        self.saw("processes", tasks)
        self.saw("memory", memory_of(tree))
        if now >= self.disk_at:
            began = time.monotonic()
            self.saw("disk", disk_of(self.scratch, self.limits.get("disk")))
            self.disk_at = now + max(DISK_SECONDS, 20 * (time.monotonic() - began))
        self.warn_of_heat(now, cpu)
        self.pause = min(self.pause * 1.25, WATCH_SECONDS_MAX)
        if self.near("memory"):
            self.pause = WATCH_SECONDS
        self.look_at = time.monotonic() + self.pause

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

    def end(self) -> None:
        """The main process is gone: kill and reap the rest, then say how it went."""
        _, status, usage = os.wait4(self.pid, 0)
        seconds = time.monotonic() - self.began
        clean = kill_all()
        cpu = spent_by_reaped() - self.cpu_before
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            cpu = max(cpu, self.limits.get("cpu") or 0)  # by the kernel's own count, which ends it a little early
        self.peaks["cpu"] = max(self.peaks["cpu"], cpu)
        self.peaks["memory"] = max(self.peaks["memory"], usage.ru_maxrss * 1024)
        self.peaks["disk"] = max(self.peaks["disk"], disk_of(self.scratch, self.limits.get("disk")))
        send(
            self.control,
            {
                "ended": status,
                "killed_by": self.killed_by,
                "peaks": self.peaks,
                "seconds": seconds,
                "clean": clean,
            },
        )


# -- the tree ------------------------------------------------------------------------------------------------------


def descendants() -> list[int]:
    """Pids of all processes below the keeper, zombies left out."""
    found, todo = [], children(os.getpid())
    while todo:
        pid = todo.pop()
        todo += children(pid)
        if state_of(pid) not in ("Z", "X", ""):
            found.append(pid)
    return found


def children(pid: int) -> list[int]:
    """Direct children, of any of its threads."""
    pids = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            pids += [int(child) for child in read(f"/proc/{pid}/task/{thread}/children").split()]
    except OSError:
        pass
    return pids


def kill_tree() -> None:
    """Kill everything below the keeper, so that nothing can fork away from the kill.

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


def kill_all() -> bool:
    """Until no process is left below the keeper; False when some would not die in time."""
    until = time.monotonic() + CLEAN_SECONDS
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        if time.monotonic() > until:
            return False
        kill_tree()
        try:
            wait_for_a_child(0.05)
        except ChildProcessError:
            return True


def wait_for_a_child(seconds: float) -> None:
    """Sleep until a child is to be reaped, `seconds` at most."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    try:
        if os.waitpid(-1, os.WNOHANG)[0] == 0:
            signal.sigtimedwait([signal.SIGCHLD], seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def reap(main: int) -> None:
    """Collect what orphans have ended, but never the main process: its end is awaited elsewhere."""
    for pid in children(os.getpid()):
        if pid != main and state_of(pid) == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


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


# -- plumbing ------------------------------------------------------------------------------------------------------


def receive(control: socket.socket) -> tuple[Message | None, list[int]]:
    """A message and its fds; (None, []) at the end of file."""
    try:
        data, fds, _, _ = socket.recv_fds(control, 256 * 1024, 8)
    except (ConnectionResetError, InterruptedError):
        data, fds = b"", []
    return (json.loads(data) if data else None), list(fds)


def send(control: socket.socket, message: Message) -> None:
    with contextlib.suppress(OSError):  # the worker is gone: the next receive says so
        control.send(json.dumps(message).encode())


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def write(path: str, text: str) -> None:
    with contextlib.suppress(OSError), open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
    sys.exit(0)
