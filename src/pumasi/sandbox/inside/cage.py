"""The set-up of a job's process, between its fork and the script's first line: a flat list of steps for each level.

The order is the order that security needs; a step does one thing, and what a level cannot do is not in its list. A step
that fails is a fault of the cage: the script does not run.

    /                    read-only: interpreter, libraries, environment (made by the template)
    /proc                of the slot's pid namespace
    /home/script         scratch: a tmpfs with caps on size and inodes, or a folder on disk; HOME
    /home/script/work    the script's files as its own; working directory
    /tmp  /dev/shm       other folders of the scratch
"""

from __future__ import annotations

import fcntl
import os
import resource

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

HOME, WORK = "/home/script", "/home/script/work"
CACHE, DISKS = "/.cache", "/.scratch"
#: who the script is inside; outside, a uid that the slot alone has
UID = 1000

#: descriptors of a job: nothing to read, output, errors, what to run, reports; above them those of the set-up
STDIN, STDOUT, STDERR, PAYLOAD, REPORT, FAULT, SCRATCH = range(7)

#: processes beyond the limit that the watch acts on, before the kernel refuses more
NPROC_SLACK = 32


class Box:
    """What the steps work on: the slot's constants, this run's message, its descriptors."""

    def __init__(self, slot: dict[str, Any], run: dict[str, Any], fds: list[int], scratch: int, fault: int) -> None:
        self.slot, self.run, self.limits = slot, run, run["limits"]
        self.fds, self.scratch, self.fault = fds, scratch, fault
        self.source = -1


def session(box: Box) -> None:
    os.setsid()


def descriptors(box: Box) -> None:
    """Output, errors, payload, reports to their places; those of the set-up above them; everything else is closed."""
    null = os.open("/dev/null", os.O_RDONLY)
    wanted = [null, *box.fds, box.fault] + ([box.scratch] if box.scratch >= 0 else [])
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in wanted]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=number <= STDERR or number == REPORT)
    kernel.close_from(len(high))


def rlimits(box: Box) -> None:
    """What the kernel enforces of one process; the cgroup, or the watch, counts the tree."""
    _limit(resource.RLIMIT_CORE, 1)  # unlike 0 it also keeps a program that is to take them from being called
    _limit(resource.RLIMIT_NOFILE, box.limits.get("open_files"))
    cpu = box.limits.get("cpu")
    if cpu is not None:
        whole = max(1, int(cpu + 0.999))
        _limit(resource.RLIMIT_CPU, whole, whole + 5)


def file_size(box: Box) -> None:
    """Where the scratch is a folder of the host's disk: no single file beyond its limit."""
    if box.scratch < 0:
        _limit(resource.RLIMIT_FSIZE, box.limits.get("disk"))


def process_count(box: Box) -> None:
    """Where no cgroup counts: the user's processes, and a user is a slot's alone."""
    processes = box.limits.get("processes")
    if processes is not None:
        _limit(resource.RLIMIT_NPROC, processes + NPROC_SLACK)


def _limit(which: int, soft: int | None, hard: int | None = None) -> None:
    """Set a limit, never above the hard limit there is."""
    if soft is None:
        return
    ceiling = resource.getrlimit(which)[1]
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, wanted = min(soft, ceiling), min(wanted, ceiling)
    resource.setrlimit(which, (soft, wanted))


def priority(box: Box) -> None:
    """Nicer than the worker, and the first to go when memory is short."""
    os.nice(box.run["nice"])
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # without it the kernel chooses by size


def namespaces(box: Box) -> None:
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)


def scratch(box: Box) -> None:
    """The only places it may write to."""
    if box.scratch >= 0:
        kernel.move_mount(SCRATCH, HOME)
    else:
        kernel.bind(f"{DISKS}/{box.run['scratch']}", HOME, writable=True)
    for name, mode in (("work", 0o700), ("tmp", 0o1777), ("shm", 0o1777)):
        folder = f"{HOME}/{name}"
        os.mkdir(folder)
        os.chmod(folder, mode)
        os.chown(folder, UID, UID)
    kernel.mount(f"{HOME}/tmp", "/tmp", None, kernel.MS_BIND)
    kernel.mount(f"{HOME}/shm", "/dev/shm", None, kernel.MS_BIND)


def source(box: Box) -> None:
    """The script's files in the cache, open before the cache is out of sight."""
    box.source = os.open(f"{CACHE}/{box.run['source']}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def hide(box: Box) -> None:
    """The cache, and the scratch folders of others, out of sight."""
    for place in (CACHE, DISKS):
        kernel.mount("none", place, "tmpfs", kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV, "size=0,mode=000")


def groups(box: Box) -> None:
    os.setgroups([])


def user(box: Box) -> None:
    """Somebody whom no other slot knows."""
    uid = box.slot["uid"]
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def capabilities(box: Box) -> None:
    kernel.drop_capabilities()


def readable(box: Box) -> None:
    """Its files in /proc are its own again, /dev/stdout among them; after a change of user they are root's."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


def no_new_privileges(box: Box) -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def copy(box: Box) -> None:
    """The script's files as its own."""
    _copy(box.source, WORK)
    os.close(box.source)


def _copy(source: int, target: str) -> None:
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.mkdir(f"{target}/{entry.name}", 0o700)
                inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
                _copy(inner, f"{target}/{entry.name}")
                os.close(inner)
            else:
                _copy_file(source, entry.name, f"{target}/{entry.name}")


def _copy_file(source: int, name: str, target: str) -> None:
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source), "rb", buffering=0) as file:
        mode = 0o700 if os.fstat(file.fileno()).st_mode & 0o100 else 0o600
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        while data := file.read(1 << 20):
            os.write(out, data)
        os.close(out)


def folder(box: Box) -> None:
    os.chdir(box.run["folder"])


def umask(box: Box) -> None:
    os.umask(0o077)


def files(box: Box) -> None:
    """A second fence round the files, which holds where the first has a hole."""
    version = box.slot["landlock"]
    if version:
        kernel.landlock(version, [
            *((path, kernel.LOOK) for path in box.slot["visible"]),
            ("/dev", kernel.LOOK | kernel.USE),
            ("/proc", kernel.LOOK | kernel.USE),
            *((path, kernel.ALL) for path in (box.slot["writable"] or [box.run["home"]])),
        ])  # fmt: skip


def filters(box: Box) -> None:
    """System calls that the set-up needed, and the script does not."""
    kernel.seccomp(box.slot["filters"]["browser" if box.run["browser"] else "job"])


def close(box: Box) -> None:
    """The set-up is over."""
    kernel.close_from(FAULT)


_LIMITS = (session, descriptors, rlimits, file_size, priority)
#: with namespaces: an own root, own processes, own users
_SEALED = (namespaces, scratch, source, hide, folder, umask)
_FENCES = (readable, files, filters, close)

STEPS: dict[str, tuple[Callable[[Box], None], ...]] = {
    "full": (*_LIMITS, process_count, *_SEALED, groups, user, capabilities, copy, *_FENCES),
    # where the worker is no root, one user is all there can be: no change of user, and none of groups
    "unprivileged": (*_LIMITS, process_count, *_SEALED, capabilities, copy, *_FENCES),
    # without namespaces: the worker has made the scratch, with the script's files in it
    "container": (*_LIMITS, process_count, folder, umask, groups, user, capabilities, *_FENCES),
    "container, one user": (*_LIMITS, folder, umask, *_FENCES),
    "basic": (*_LIMITS, folder, umask, readable, no_new_privileges, close),
}


def enter(box: Box) -> None:
    """All of it, one step after another. Raises: OSError, from the step that failed."""
    for step in STEPS[box.slot["steps"]]:
        step(box)
