"""Control groups: the kernel holds a slot to its limits of memory and processes, and counts what a job has used.

Theory of operation. A worker owns one subtree, with a group in it for each slot and each template. A group serves job
after job: `begin` writes the limits that have changed and notes the counters, `usage` is the difference to them. Both
run for every job, so all files stay open and are read at offset 0.

    <the worker's own cgroup>/pumasi-<pid>-<chance>/<group>

In v1 this exists in every hierarchy of ours (memory and pids are needed, cpu and cpuacct used when there), in v2 once.
The difference is the tables `V1` and `V2`, and `settle`: in v2 a cgroup with controlled children may hold no processes,
so the worker moves to a leaf of its own, and stays there. A host with both gets v1 if that has the controllers.

The name carries chance, since workers in two pid namespaces may share both cgroup and pid. A worker holds a lock on its
subtree, which the kernel takes back when it is gone, however it goes: the next one to come removes what nobody holds.

v1 is tested for real; v2 is written by the book, and not tested by us on a real host.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import time

from msgspec import Struct
from msgspec.structs import replace

from pumasi.locale import gettext as _

MB = 1024 * 1024
SUBTREE, LEAF = "pumasi-", "pumasi-worker-"
NEEDED, USED = ("memory", "pids"), ("memory", "pids", "cpu", "cpuacct")
KILL_SECONDS = 5.0  # for all of a group
REMOVE_SECONDS = 2.0  # the kernel lets go of the dead a little after they are gone
SHRINK_SECONDS = 0.1  # and lets go of what they have written a little after the last descriptor is closed
BATCH = 256  # processes killed in one go, each costing a descriptor


class Files(Struct, frozen=True, kw_only=True):
    """The names of one version's files; those of the pids controller are the same in both."""

    memory: str
    peak: str
    limit: str
    swap: str
    swap_unlike: str | None  # what to write there beside a limit; None: the limit itself
    unlimited: str
    oom: str
    cpu: str
    cpu_key: bytes  # empty: the file is one number
    cpu_unit: float
    share: tuple[str, str]  # a lowish share, the same for all, and no quota: threads do not buy a job more CPU


V1 = Files(
    memory="memory.usage_in_bytes", peak="memory.max_usage_in_bytes", limit="memory.limit_in_bytes",
    swap="memory.memsw.limit_in_bytes", swap_unlike=None, unlimited="-1", oom="memory.oom_control",
    cpu="cpuacct.usage", cpu_key=b"", cpu_unit=1e-9, share=("cpu.shares", "256"),
)  # fmt: skip
V2 = Files(
    memory="memory.current", peak="memory.peak", limit="memory.max",
    swap="memory.swap.max", swap_unlike="0", unlimited="max", oom="memory.events",
    cpu="cpu.stat", cpu_key=b"usage_usec", cpu_unit=1e-6, share=("cpu.weight", "25"),
)  # fmt: skip


class NoCgroups(Exception):
    """Why there are no control groups here, and how to get them."""


class Usage(Struct, frozen=True, kw_only=True):
    """What a group has used since `begin`. None: the kernel does not tell, or only tells of an earlier job."""

    memory: int | None = None  # peak, bytes
    cpu: float | None = None  # seconds
    processes: int | None = None  # peak, threads counted
    oom_kills: int = 0
    refused_forks: int = 0


class Group:
    """One group: at most one job at a time, and what its slot needs beside it."""

    def __init__(self, files: Files, folders: dict[str, str]) -> None:
        """`folders` by controller."""
        self._files, self._folders = files, folders
        self._fds: dict[str, int] = {}
        self._procs: list[int] = []
        self._made: list[str] = []
        self._written: dict[str, str] = {}
        self._memory: int | None = None
        self._resets = True
        self._base = Usage()
        self._last: Usage | None = None
        try:
            for folder in unique(folders):
                os.mkdir(folder, 0o755)
                self._made.append(folder)
                self._procs.append(os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
            self._open()
            if files.share[0] in self._fds:
                self._set(*files.share)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        names = self._files
        for name in (names.limit, "pids.max"):
            self._keep(name, os.O_RDWR)
        for name in (names.memory, names.oom, "pids.current"):
            self._keep(name, os.O_RDONLY)
        for name, flags in (
            (names.swap, os.O_RDWR),  # absent without swap accounting
            (names.share[0], os.O_RDWR),
            (names.cpu, os.O_RDONLY),
            ("pids.events", os.O_RDONLY),
            ("pids.peak", os.O_RDONLY),
        ):
            with contextlib.suppress(FileNotFoundError, KeyError):
                self._keep(name, flags)
        with contextlib.suppress(FileNotFoundError):  # v2 before 5.19
            try:
                self._keep(names.peak, os.O_RDWR)
            except PermissionError:  # v2 before 6.12 has it read-only
                self._keep(names.peak, os.O_RDONLY)

    def _keep(self, name: str, flags: int) -> None:
        folder = self._folders[name.partition(".")[0]]
        self._fds[name] = os.open(f"{folder}/{name}", flags | os.O_CLOEXEC)

    def attach(self, pid: int) -> None:
        """Move a process in, with all its threads; its children are born here. Raises: ProcessLookupError."""
        for fd in self._procs:
            os.pwrite(fd, b"%d" % pid, 0)

    def begin(self, *, memory: int | None, processes: int | None) -> None:
        """Set the limits for the next job, and count from now.

        Everything in the group counts, also what the slot needs itself. Raises: OSError (EBUSY, v1) when what is left
        in the group does not fit into `memory`.
        """
        if memory != self._memory:
            self._limit_memory(memory)
        self._set("pids.max", "max" if processes is None else str(processes))
        if self._resets and self._files.peak in self._fds:
            try:
                os.pwrite(self._fds[self._files.peak], b"0", 0)
            except OSError:
                self._resets = False
        self._base = self._last or self._count()  # nothing has counted since the last job

    def _limit_memory(self, memory: int | None) -> None:
        """Memory, and swap so that none is used. v1 wants memory + swap at or above memory at every moment."""
        names = self._files
        limit = names.unlimited if memory is None else str(memory)
        swap = limit if memory is None else names.swap_unlike or limit
        grows = memory is None or (self._memory is not None and memory > self._memory)
        steps = [(names.limit, limit), (names.swap, swap)]
        for name, value in reversed(steps) if grows else steps:
            if name in self._fds:
                try:
                    self._set(name, value)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    # the page cache of an earlier job; emptying it tries harder than setting a limit does
                    write(f"{self._folders['memory']}/memory.force_empty", "0")
                    self._set_soon(name, value)
        self._memory = memory

    def _set(self, name: str, value: str) -> None:
        if self._written.get(name) != value:
            os.pwrite(self._fds[name], value.encode(), 0)
            self._written[name] = value

    def _set_soon(self, name: str, value: str) -> None:
        """Set once the kernel allows it. Raises: OSError (EBUSY) when it does not in time."""
        until = time.monotonic() + SHRINK_SECONDS
        while True:
            try:
                return self._set(name, value)
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise
                time.sleep(0.002)

    def usage(self) -> Usage:
        """Since `begin`. A high-water mark that cannot be reset tells of this job only if this job has raised it."""
        now, base = self._count(), self._base
        self._last = now
        return Usage(
            memory=now.memory if self._resets else raised(now.memory, base.memory),
            cpu=None if now.cpu is None else now.cpu - (base.cpu or 0.0),
            processes=raised(now.processes, base.processes),
            oom_kills=now.oom_kills - base.oom_kills,
            refused_forks=now.refused_forks - base.refused_forks,
        )

    def _count(self) -> Usage:
        """The counters as they stand."""
        names, cpu = self._files, self._read(self._files.cpu)
        return Usage(
            memory=number(self._read(names.peak)),
            cpu=(field(cpu, names.cpu_key) if names.cpu_key else int(cpu)) * names.cpu_unit if cpu else None,
            processes=number(self._read("pids.peak")),
            oom_kills=field(self._read(names.oom), b"oom_kill"),
            refused_forks=field(self._read("pids.events"), b"max"),
        )

    def _read(self, name: str) -> bytes:
        """Empty when there is no such file here."""
        fd = self._fds.get(name)
        return b"" if fd is None else os.pread(fd, 4096, 0)

    def meters(self) -> dict[str, int]:
        """Descriptors, for reading only and kept by the group, for a supervisor without rights of its own.

        In `oom` stands how many processes the kernel has killed for the group's memory, after the word `oom_kill`.
        """
        files = self._files
        names = {"memory": files.memory, "cpu": files.cpu, "processes": "pids.current", "oom": files.oom}
        return {what: self._fds[name] for what, name in names.items() if name in self._fds}

    def pids(self) -> list[int]:
        """Its processes; 0 stands for one outside our pid namespace."""
        # opened anew: v1 reads one and the same list through a descriptor for as long as that is read once a second
        return [int(pid) for pid in read(f"{self._folders['memory']}/cgroup.procs").split()] if self._procs else []

    def kill(self) -> bool:
        """Kill everything in it; False when some would not die in time."""
        pids = self.pids()
        if not pids:
            return True
        until = time.monotonic() + KILL_SECONDS
        allowed, refused = self._written.get("pids.max", "max"), self._count().refused_forks
        self._set("pids.max", "0")  # nothing can fork away from the kill
        while pids and time.monotonic() < until:
            self._strike(pids[:BATCH])
            pids = self.pids()
        self._set("pids.max", allowed)
        self._last = None
        ours = self._count().refused_forks - refused  # not the job's doing
        self._base = replace(self._base, refused_forks=self._base.refused_forks + ours)
        return not pids

    def _strike(self, pids: list[int]) -> None:
        """Kill these, and wait for it; by descriptor, since a pid that is gone may have become another's."""
        with contextlib.ExitStack() as stack:
            waiting: dict[int, int] = {}
            for pid in pids:
                with contextlib.suppress(OSError):  # gone, or outside our pid namespace
                    waiting[os.pidfd_open(pid)] = pid
            for fd in waiting:
                stack.callback(os.close, fd)
            try:
                write(f"{self._folders['memory']}/cgroup.kill", "1")
            except OSError:  # v1, and v2 before 5.14
                still = set(self.pids())
                for fd in [fd for fd, pid in waiting.items() if pid in still]:
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
            poll = select.poll()
            for fd in waiting:
                poll.register(fd, select.POLLIN)
            left, until = len(waiting), time.monotonic() + 0.2
            while left and time.monotonic() < until:
                for fd, _ in poll.poll(100):
                    poll.unregister(fd)
                    left -= 1
            if not waiting:
                poll.poll(10)

    def close(self) -> None:
        """Kill, and remove the group; safe to repeat. Raises: OSError when it cannot be emptied in time."""
        try:
            self.kill()
        finally:
            for fd in (*self._fds.values(), *self._procs):
                os.close(fd)
            self._fds, self._procs = {}, []
            for folder in self._made:
                remove(folder)


class Cgroups:
    """This worker's subtree."""

    def __init__(self, version: int, homes: dict[str, str]) -> None:
        """`homes`: the cgroup to build in, by controller. Raises: OSError, NoCgroups."""
        self.version = version
        self._files = V1 if version == 1 else V2
        self._groups: list[Group] = []
        self._folders: dict[str, str] = {}
        self._locks: list[int] = []
        name = f"{SUBTREE}{os.getpid()}-{secrets.token_hex(3)}"
        for home in unique(homes):
            with contextlib.suppress(OSError):
                sweep(home)
        try:
            for controller, home in homes.items():
                folder = f"{home}/{name}"
                try:
                    if folder not in self._folders.values():
                        self._locks.append(claimed(folder))
                    self._folders[controller] = folder
                except OSError:
                    if controller in NEEDED:
                        raise
            if version == 2:
                enable(self._folders["memory"])
        except BaseException:
            self.close()
            raise

    @classmethod
    def probe(cls) -> "Cgroups | str":
        """Try it all with a process; a text says why it cannot be had. In v2 the worker may move to a leaf."""
        path = "/proc/self/cgroup"
        try:
            version, homes = locate(read("/proc/self/mountinfo"), read(path))
            path = homes["memory"]
            if version == 2:
                homes = dict.fromkeys(homes, settle(path))
            cgroups = cls(version, homes)
            try:
                cgroups._try()
            except BaseException:
                cgroups.close()
                raise
        except NoCgroups as error:
            return str(error)
        except OSError as error:
            return explain(error, path)
        return cgroups

    def _try(self) -> None:
        group = self.group("probe")
        with subprocess.Popen([sys.executable, "-ISc", "input()"], stdin=subprocess.PIPE) as child:
            try:
                group.begin(memory=64 * MB, processes=16)
                group.attach(child.pid)
                if child.pid not in group.pids() or not group.kill():
                    raise NoCgroups(_("control groups are there, but a process put into one is not held by it"))
            finally:
                child.kill()
        group.close()

    def group(self, name: str) -> Group:
        """Make a group. Raises: FileExistsError when there is one of that name."""
        group = Group(self._files, {controller: f"{folder}/{name}" for controller, folder in self._folders.items()})
        self._groups.append(group)
        return group

    def close(self) -> None:
        """Kill what is left and remove the subtree; safe to repeat. Raises: OSError when something would not go."""
        with contextlib.ExitStack() as stack:  # the one that fails does not keep the others
            while self._locks:
                stack.callback(os.close, self._locks.pop())
            for folder in unique(self._folders):
                stack.callback(remove, folder)
            for group in self._groups:
                stack.callback(group.close)


# -- the host ------------------------------------------------------------------------------------------------------


def locate(mountinfo: str, cgroup: str) -> tuple[int, dict[str, str]]:
    """The version, and the folder of our own cgroup by controller. Raises: NoCgroups."""
    lines = [line.split(":", 2) for line in cgroup.splitlines()]
    ours = {name: path for _hierarchy, names, path in lines for name in names.split(",")}
    found: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, _dash, after = line.partition(" - ")
        root, point = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text) for text in before.split()[3:5])
        kind, _source, options = after.split(" ", 2)
        names = {"cgroup": [name for name in options.split(",") if name in USED], "cgroup2": [""]}.get(kind, [])
        for name in names:
            path = inside(root, ours.get(name, "/.."))
            if path is not None:
                found[name] = point.rstrip("/") + path
    if all(name in found for name in NEEDED):
        return 1, {name: found[name] for name in USED if name in found}
    if "" in found:
        return 2, dict.fromkeys(("memory", "pids", "cpu"), found[""])
    text = "the worker's control groups are not mounted here; mount /sys/fs/cgroup with memory and pids, writable"
    raise NoCgroups(_(text))


def inside(root: str, path: str) -> str | None:
    """A cgroup's path below a mount that shows the hierarchy from `root` on; None when it is not in there."""
    root = root.rstrip("/")
    if path != root and not path.startswith(root + "/"):
        return None
    rest = path[len(root) :].rstrip("/")
    return None if ".." in rest.split("/") else rest


def settle(own: str) -> str:
    """v2: move this worker to a leaf, so that its cgroup may have controlled children; the cgroup to build in."""
    home, name = os.path.split(own)
    if name.startswith(LEAF):
        enable(home)
        return home
    leaf = f"{own}/{LEAF}{os.getpid()}"
    os.makedirs(leaf, 0o755, exist_ok=True)
    try:
        write(f"{leaf}/cgroup.procs", "0")  # the one who writes, whatever its pid is called here
        enable(own)
    except BaseException:
        with contextlib.suppress(OSError):
            write(f"{own}/cgroup.procs", "0")
        with contextlib.suppress(OSError):
            os.rmdir(leaf)
        raise
    return own


def enable(folder: str) -> None:
    """v2: hand the controllers down to the children. Raises: NoCgroups, OSError."""
    there = read(f"{folder}/cgroup.controllers").split()
    lacking = [name for name in NEEDED if name not in there]
    if lacking:
        text = "the cgroup {folder} lacks {names}; run the worker as a service with Delegate=yes"
        raise NoCgroups(_(text).format(folder=folder, names=", ".join(lacking)))
    write(f"{folder}/cgroup.subtree_control", " ".join(f"+{name}" for name in NEEDED))
    if "cpu" in there:
        with contextlib.suppress(OSError):  # refused beside real-time processes; only the share is lost
            write(f"{folder}/cgroup.subtree_control", "+cpu")


def explain(error: OSError, path: str) -> str:
    """What is missing, and how to turn it on."""
    if error.errno in (errno.EACCES, errno.EPERM):
        text = _("the worker may not make control groups in {path}; run it as root, or as a service with Delegate=yes")
    elif error.errno == errno.EROFS:
        text = _("{path} is mounted read-only; mount it writable (docker run --privileged, for example)")
    elif error.errno == errno.EBUSY:
        text = _("the cgroup {path} holds other processes beside the worker; run it as a service with Delegate=yes")
    else:
        text = _("control groups in {path} do not work: {reason}")
    return text.format(path=path, reason=str(error))


# -- files ---------------------------------------------------------------------------------------------------------


def field(text: bytes, key: bytes) -> int:
    """A number from lines of `key number`; 0 when the kernel does not have it."""
    _, found, rest = (b"\n" + text).partition(b"\n" + key + b" ")
    return int(rest.split(b"\n", 1)[0]) if found else 0


def number(text: bytes) -> int | None:
    return int(text) if text else None


def raised(now: int | None, before: int | None) -> int | None:
    """A high-water mark, if it is higher than it was."""
    return now if now is not None and now > (before or 0) else None


def unique(folders: dict[str, str]) -> list[str]:
    """Each folder once: v2, and v1 with controllers mounted together, have one for several."""
    return list(dict.fromkeys(folders.values()))


def claimed(folder: str) -> int:
    """Make a folder and lock it for as long as the descriptor is open. Raises: OSError."""
    while True:
        os.mkdir(folder, 0o755)
        with contextlib.suppress(FileNotFoundError):  # another worker's sweep came in between, here or below
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.exists(folder):
                return lock
            os.close(lock)


def sweep(home: str) -> None:
    """Remove the subtrees that no living worker holds; where processes are left in one, it is for the next sweep."""
    for name in os.listdir(home):
        if name.startswith(SUBTREE) and not name.startswith(LEAF):
            with contextlib.suppress(OSError):
                remove_unheld(f"{home}/{name}")


def remove_unheld(subtree: str) -> None:
    """Remove a subtree and its groups. Raises: OSError when it is held, or something runs in it."""
    lock = os.open(subtree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for group in os.listdir(subtree):
            if os.path.isdir(f"{subtree}/{group}"):
                os.rmdir(f"{subtree}/{group}")
        os.rmdir(subtree)
    finally:
        os.close(lock)


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def remove(folder: str) -> None:
    """Remove a group's folder. The kernel has no event for when it lets go of the dead: hence the short sleeps."""
    until = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            return os.rmdir(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > until:
                raise
            time.sleep(0.002)
