"""What is declared of every case at every level: it holds, or it is open, and why.

The tests compare with this table in both directions, and `docs/security.md` shows it (`table.py`). Rows are those of
the threat matrix; some have several cases.
"""

from typing import Literal

from msgspec import Struct

from pumasi.core.job import Cause

LEVELS = ("full", "unprivileged", "container", "basic")


class Expected(Struct, frozen=True, kw_only=True):
    """How a case ends at a level, and what it can do."""

    cause: Cause | None = None
    signal: int | None = None
    #: all that it can do and should not be able to
    can: tuple[str, ...] = ()
    #: what it can do as well on some machines, by their kernel
    may: tuple[str, ...] = ()
    #: why it is open, for the page on security
    why: str = ""
    #: open only where the worker's user is one of these; holds for the other
    worker: Literal["root", "user", ""] = ""


class Case(Struct, frozen=True, kw_only=True):
    """A line of the table."""

    row: int
    title: str
    full: Expected
    unprivileged: Expected
    container: Expected
    basic: Expected

    def at(self, level: str, *, root: bool) -> Expected:
        expected: Expected = getattr(self, level)
        if expected.worker and expected.worker != ("root" if root else "user"):
            return Expected(cause=expected.cause, signal=expected.signal)
        return expected


def held(cause: Cause | None = None, signal: int | None = None) -> Expected:
    return Expected(cause=cause, signal=signal)


def opened(
    why: str, *can: str, cause: Cause | None = None, signal: int | None = None, may: tuple[str, ...] = (),
    worker: Literal["root", "user", ""] = "",
) -> Expected:  # fmt: skip
    return Expected(cause=cause, signal=signal, can=can, may=may, why=why, worker=worker)


def case(row: int, title: str, everywhere: Expected | None = None, **levels: Expected) -> Case:
    """`everywhere` where a level is not named."""
    given = {level: levels.get(level, everywhere) for level in LEVELS}
    return Case(row=row, title=title, **given)  # type: ignore[arg-type]


NO_GROUP = "without a cgroup only what a process has mapped is counted"
SAME_USER = "a script is the worker's user"
NO_FILTER = "there is no system call filter"
NO_ROOT = "a script sees the host's files"
NO_IPC = "it shares the host's IPC namespace"
NO_GATE = 'a script that does not say `network = "none"` has the host\'s network'
SHARED = ("/dev/shm", "/tmp", "/var/tmp", "/run/lock")
OTHERS = ("its keeper's", "the worker's")
HAD_NETWORK = ("reach loopback of the host", "reach the metadata service", "send a datagram")

CASES: dict[str, Case] = {
    "fork bomb": case(1, "makes processes without end", held(Cause.PROCESSES), full=held(Cause.TIMEOUT)),
    "memory bomb": case(2, "takes memory without end", held(Cause.MEMORY)),
    "memory of children": case(3, "takes memory by 50 children", held(Cause.MEMORY)),
    "shared folders": case(
        4,
        "fills /dev/shm and /tmp",
        held(),
        basic=opened(
            "it writes where the worker's user may",
            *(f"{what} {folder}" for what in ("fill", "leave a file in") for folder in SHARED),
        ),
    ),
    "memory file": case(
        4,
        "fills a memory file (`memfd_create`)",
        opened(NO_GROUP, "hold 100 MB in a memory file"),
        full=held(Cause.MEMORY),
    ),
    "shared mapping": case(4, "fills a shared mapping", held(Cause.MEMORY)),
    "disk flood": case(5, "fills its scratch with files", held(Cause.DISK)),
    "one large file": case(5, "fills its scratch with one file", held(Cause.DISK)),
    "file flood": case(
        6,
        "makes empty files without end",
        opened("only bytes are looked at", "make 5000 empty files"),
        full=held(Cause.DISK),
        unprivileged=held(Cause.DISK),
    ),
    "deep folders": case(7, "makes folders 3000 deep, closed ones, names that are no text", held()),
    "many descriptors": case(8, "opens files without end", held()),
    "spin": case(9, "spins in 40 threads of 5 processes", held(Cause.CPU)),
    "deaf": case(10, "is deaf to signals", held(Cause.TIMEOUT)),
    "stopped": case(11, "stops itself", held(Cause.TIMEOUT)),
    "daemon": case(12, "leaves a daemon in a session of its own", held()),
    "comet": case(12, "leaves a process that becomes another all the time", held()),
    "held pipe": case(13, "leaves a child that holds its output open", held()),
    "flood": case(14, "prints without end", held()),
    "flood over its limit": case(14, "prints more than it may", held(Cause.OUTPUT)),
    "endless line": case(15, "prints a line without an end", held()),
    "closed streams": case(16, "closes all its descriptors", held(Cause.BAD_RESULT)),
    "forged result": case(18, "prints what looks like a result", held()),
    "exit code 137": case(19, "exits with the code of a killed process", held(Cause.EXIT)),
    "killed by itself": case(19, "kills itself", held(Cause.SIGNAL, 9)),
    "crash": case(20, "crashes", held(Cause.SIGNAL, 11)),
    "abort": case(20, "aborts", held(Cause.SIGNAL, 6)),
    "exit at exit": case(20, "exits while it exits", held(Cause.EXIT)),
    "core dump": case(20, "dumps core", held()),
    "zombies": case(
        21,
        "makes processes that nobody reaps",
        held(Cause.ERROR),
        full=held(Cause.PROCESSES),
        basic=opened("the kernel's limit does not hold root", "make 200 zombies", worker="root"),
    ),
    "spying": case(
        22,
        "reads environment, memory, files of the worker and of its keeper",
        held(),
        basic=opened(
            "root may read all of it",
            *(f"open {who} {name}" for who in OTHERS for name in ("environ", "mem", "maps")),
            *(f"list {who} descriptors" for who in OTHERS),
            *(f"enter {who} {place}" for who in OTHERS for place in ("folder", "root")),
            worker="root",
        ),
    ),
    "attack": case(
        23,
        "signals, traces, reads the worker and its keeper",
        held(),
        basic=opened(
            SAME_USER,
            *(
                f"{what} {who}"
                for what in ("signal", "trace", "read the memory of")
                for who in ("its keeper", "the worker")
            ),
        ),
    ),
    "keeper killed": case(23, "kills its keeper", held(), basic=opened("", cause=Cause.SANDBOX)),
    "everybody killed": case(23, "signals every process it can", held()),
    "files of others": case(
        24,
        "reads the worker's files, the cache, scratch folders, /etc/shadow",
        held(),
        basic=opened(
            SAME_USER,
            "enter the scratch of another job",
            "list the cache",
            "list the folder of scripts",
            "list the scratch folders",
            "list the worker's home",
            "read /etc/shadow",
            "read a secret of the worker's",
        ),
    ),
    "poison": case(
        25,
        "writes to the cache, the interpreter, the system",
        held(),
        basic=opened(
            SAME_USER,
            "make a file beside the standard library",
            "make a file in /",
            "make a file in /etc",
            "make a file in /usr/bin",
            "write to the cache",
            "write to the standard library",
        ),
    ),
    "artifacts": case(26, "puts links, pipes, devices where its artifacts should be", held()),
    "descriptors at birth": case(27, "uses descriptors and folders it was born with", held()),
    "shadowed modules": case(28, "brings a `json.py`, a `sitecustomize.py` of its own", held()),
    "no network": case(30, 'reaches addresses although it has `network = "none"`', held(), basic=held(Cause.INVALID)),
    "network": case(30, "reaches addresses of the host's network", opened(NO_GATE, *HAD_NETWORK)),
    "unix sockets": case(
        31,
        "reaches UNIX sockets of the host",
        held(),
        container=opened(NO_ROOT, "reach a socket in the file system"),
        basic=opened(NO_ROOT, "reach a socket in the file system", "reach an abstract socket"),
    ),
    "socket families": case(
        32,
        "opens raw, packet, netlink and other sockets",
        held(),
        basic=opened(
            NO_FILTER,
            *(
                f"open a socket: {name}"
                for name in ("netlink audit", "netlink uevent", "packet", "raw", "vsock", "xdp")
            ),
            worker="root",
        ),
    ),
    "covert stores": case(
        33,
        "leaves shared memory, message queues",
        opened(NO_IPC, "leave a message queue", "leave shared memory"),
        full=held(),
        unprivileged=held(),
    ),
    "mounts": case(
        34,
        "mounts, makes namespaces, devices",
        held(),
        basic=opened(
            NO_FILTER,
            "change its root",
            "make a device",
            "make a user namespace",
            "make a user namespace by clone",
            "make namespaces",
            "mount",
            "name the host",
            "type into a terminal",
            worker="root",
        ),
    ),
    "privileges": case(
        34,
        "has or gains privileges",
        held(),
        basic=opened(SAME_USER, "become another user", "have a capability", "leave its groups", worker="root"),
    ),
    "terminal escapes": case(38, "prints escape sequences", held()),
    "forged log": case(39, "prints what looks like a log of the worker's", held()),
    "clock": case(40, "sets the clock", held(), basic=opened(SAME_USER, "set the clock", worker="root")),
    "priority": case(
        41,
        "raises its priority",
        opened(
            "the kernel lets it go back to the worker's score",
            "be no sooner to go than the worker when memory is short",
        ),
        basic=opened(
            SAME_USER,
            "be nicer to itself",
            "be no sooner to go than the worker when memory is short",
            "have its files in real time",
            "run in real time",
            worker="root",
        ),
    ),
    "kernel surface": case(
        42,
        "makes calls that exploits begin with (io_uring, bpf, keyrings, …)",
        held(),
        basic=opened(
            NO_FILTER,
            *(
                f"call {name}"
                for name in (
                    "add_key",
                    "bpf",
                    "fanotify_init",
                    "io_uring_enter",
                    "io_uring_register",
                    "io_uring_setup",
                    "keyctl",
                    "open_by_handle_at",
                    "perf_event_open",
                    "userfaultfd",
                )
            ),
            worker="root",
        ),
    ),
    "x32 calls": case(42, "makes calls by the x32 table", held()),
    "i386 calls": case(
        42, "makes calls by the i386 table", held(Cause.SIGNAL, 31), basic=opened(NO_FILTER, "call by the i386 table")
    ),
    "counted by user": case(
        43,
        "uses up what the kernel counts by user",
        opened("it is counted for a template as a whole", "use up what another job may have"),
        container=held(),
        basic=opened(SAME_USER, "use up what another job may have", "use up what the worker's user may have"),
    ),
    "killed while drained": case(
        45,
        "kills itself while its worker ends",
        held(Cause.SIGNAL, 9),
        basic=opened(SAME_USER, "rename the scratch folder"),
    ),
}

#: rows that are no script's doing, and the tests that are theirs
ELSEWHERE = {
    17: ("results that are no strict JSON", "`tests/runner/test_result.py`"),
    29: ("pickles", "`tests/sandbox/hostile/test_formats.py`"),
    35: ("archives that lead out, bombs", "`tests/scripts/test_bundle.py`"),
    36: ("hostile Git repositories", "with that source"),
    37: ("hostile HTTP and S3 sources", "with that source"),
    44: ("hostile requests", "`tests/gateway/test_bad_input.py`"),
}
