"""The set-up of a job: a flat list of steps for each level, some before its process is born, the others in it.

The order is the order that security needs; a step does one thing, and what a level cannot do is not in its list. A step
that fails is a fault of the cage: the script does not run.

BEFORE is done by the keeper, which moves into fresh namespaces for the job and back when it is over: nothing of the job
runs yet, and what is not done after the fork costs no copies of pages. AFTER is done by the new process itself.

    /                    read-only: interpreter, libraries, environment (made by the template)
    /proc                of the slot's pid namespace
    /home/script         scratch: a tmpfs with caps on size and inodes, or a folder on disk; HOME
    /home/script/work    the script's files as its own; working directory
    /tmp  /dev/shm       other folders of the scratch
"""

from __future__ import annotations

import os
import resource

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

HOME, WORK = "/home/script", "/home/script/work"
CACHE, DISKS, EMPTY, SHOWN = "/.cache", "/.scratch", "/.empty", "/.shown"
#: who the script is inside; outside, a uid that the slot alone has
UID = 1000

#: descriptors of a job: nothing to read, output, errors, what to run, reports; then where output and errors came in;
#: from 64 on the keeper has its own
STDIN, STDOUT, STDERR, PAYLOAD, REPORT, NEW_STDOUT, NEW_STDERR = range(7)
KEEPERS = 64

#: processes beyond the limit that the watch acts on, before the kernel refuses more
NPROC_SLACK = 32


class Box:
    """What the steps work on: the slot's constants, this run's message, the scratch where that is a descriptor."""

    def __init__(self, slot: dict[str, Any], run: dict[str, Any], scratch: int) -> None:
        self.slot, self.run, self.limits, self.scratch = slot, run, run["limits"], scratch
        self.rules = -1


# -- before the fork -----------------------------------------------------------------------------------------------


def namespaces(box: Box) -> None:
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)


def scratch(box: Box) -> None:
    """The only place it may write to."""
    if box.scratch >= 0:
        kernel.move_mount(box.scratch, HOME)
    else:
        kernel.bind(f"{DISKS}/{box.run['scratch']}", HOME, writable=True)


def owner(box: Box) -> None:
    """Files are made as the user whose they will be."""
    kernel.setfsids(box.slot["uid"])


def folders(box: Box) -> None:
    for name in ("work", "tmp", "shm"):
        os.mkdir(f"{HOME}/{name}", 0o700)


def copy(box: Box) -> None:
    """The script's files as its own."""
    source = os.open(f"{CACHE}/{box.run['source']}", os.O_RDONLY | os.O_DIRECTORY)
    _copy(source, WORK)
    os.close(source)


def _copy(source: int, target: str) -> None:
    for name in os.listdir(source):
        path = f"{target}/{name}"
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=source)
        mode = os.fstat(found).st_mode
        if mode & 0o040000:
            os.mkdir(path, 0o700)
            _copy(found, path)
        else:
            out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700 if mode & 0o100 else 0o600)
            while data := os.read(found, 1 << 20):
                os.write(out, data)
            os.close(out)
        os.close(found)


def keeper(box: Box) -> None:
    """What is left to do, the keeper does as itself."""
    kernel.setfsids(os.getuid())


def places(box: Box) -> None:
    """Other names of its scratch, where programs look for them."""
    kernel.mount(f"{HOME}/tmp", "/tmp", None, kernel.MS_BIND)
    kernel.mount(f"{HOME}/shm", "/dev/shm", None, kernel.MS_BIND)


def covered(box: Box) -> None:
    """An interpreter, or an environment, that lies below /tmp."""
    for number, path in enumerate(box.slot["below_tmp"]):
        at = "/tmp"
        for name in path.split("/")[2:]:
            at = f"{at}/{name}"
            if not os.path.isdir(at):
                os.mkdir(at)
                os.chmod(at, 0o755)  # noqa: S103 - nobody else is in here
        kernel.mount(f"{SHOWN}/{number}", path, None, kernel.MS_BIND | kernel.MS_REC)


def hide(box: Box) -> None:
    """The cache, and the scratch folders of others, out of sight."""
    for place in (CACHE, DISKS):
        kernel.mount(EMPTY, place, None, kernel.MS_BIND)


def rules(box: Box) -> None:
    """A second fence round the files, which holds where the first has a hole."""
    version = box.slot["landlock"]
    if version:
        box.rules = kernel.landlock_rules(version, [
            *((path, kernel.LOOK) for path in box.slot["visible"]),
            ("/dev", kernel.LOOK | kernel.USE),
            ("/proc", kernel.LOOK | kernel.USE),
            *((path, kernel.ALL) for path in (box.slot["writable"] or [box.run["home"]])),
        ])  # fmt: skip


# -- after it, in the job's own process ----------------------------------------------------------------------------


def session(box: Box) -> None:
    os.setsid()


def descriptors(box: Box) -> None:
    """Output and errors to their places; payload and reports have come in at theirs."""
    os.dup2(NEW_STDOUT, STDOUT)
    os.dup2(NEW_STDERR, STDERR)


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
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"1000")
        os.close(score)
    except OSError:
        pass  # without it the kernel chooses by size


def folder(box: Box) -> None:
    os.chdir(box.run["folder"])


def user(box: Box) -> None:
    """Somebody whom no other slot knows; the capabilities of root go with it."""
    uid = box.slot["uid"]
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def capabilities(box: Box) -> None:
    kernel.drop_capabilities()


def no_new_privileges(box: Box) -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def readable(box: Box) -> None:
    """Its files in /proc are its own, /dev/stdout among them; the keeper's are root's, and so are those of whoever has
    changed the user."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)


def files(box: Box) -> None:
    if box.rules >= 0:
        kernel.landlock(box.rules)


def filters(box: Box) -> None:
    """System calls that the set-up needed, and the script does not."""
    kernel.seccomp(box.slot["filters"]["browser" if box.run["browser"] else "job"])


def close(box: Box) -> None:
    """All that was the keeper's."""
    kernel.close_range(REPORT + 1)


if TYPE_CHECKING:
    Steps = tuple[Callable[[Box], None], ...]

#: with namespaces: an own root, own processes, own users
_SEALED = (namespaces, scratch, owner, folders, copy, keeper, places, covered, hide, rules)
BEFORE: dict[str, Steps] = {
    "full": _SEALED,
    # where the worker is no root, one user is all there can be: no change of user
    "unprivileged": tuple(step for step in _SEALED if step not in (owner, keeper)),
    # without namespaces: the worker has made the scratch, with the script's files in it
    "container": (rules,),
    "container, one user": (rules,),
    "basic": (),
}

_BORN = (session, descriptors, rlimits, file_size, readable, priority)
_FENCES = (readable, files, filters, close)
AFTER: dict[str, Steps] = {
    "full": (*_BORN, process_count, folder, user, *_FENCES),
    "unprivileged": (*_BORN, process_count, folder, capabilities, *_FENCES),
    "container": (*_BORN, process_count, folder, user, *_FENCES),
    "container, one user": (*_BORN, folder, *_FENCES),
    "basic": (*_BORN, folder, no_new_privileges, close),
}


def prepare(box: Box) -> None:
    """In the keeper. Raises: OSError, from the step that failed."""
    for step in BEFORE[box.slot["steps"]]:
        step(box)


def enter(box: Box) -> None:
    """In the new process. Raises: OSError, from the step that failed."""
    for step in AFTER[box.slot["steps"]]:
        step(box)
