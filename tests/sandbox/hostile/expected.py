"""What is declared of every case at every level: it holds, or it is open, and why.

The tests compare with this table in both directions, and `docs/security.md` shows it (`table.py`). Rows are those of
the threat matrix; some have several cases.
"""

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


class Case(Struct, frozen=True, kw_only=True):
    """A line of the table."""

    row: int
    title: str
    full: Expected
    unprivileged: Expected
    container: Expected
    basic: Expected
    #: by level, where it is another matter when the worker is not root
    user: dict[str, Expected] = {}

    def at(self, level: str, *, root: bool) -> Expected:
        expected: Expected = getattr(self, level)
        return expected if root else self.user.get(level, expected)


def held(cause: Cause | None = None, signal: int | None = None) -> Expected:
    return Expected(cause=cause, signal=signal)


def opened(why: str, *can: str, cause: Cause | None = None, may: tuple[str, ...] = ()) -> Expected:
    return Expected(cause=cause, can=can, may=may, why=why)


def case(
    row: int, title: str, everywhere: Expected | None = None, user: dict[str, Expected] | None = None,
    **levels: Expected,
) -> Case:  # fmt: skip
    """`everywhere` where a level is not named."""
    given = {level: levels.get(level, everywhere) for level in LEVELS}
    return Case(row=row, title=title, user=user or {}, **given)  # type: ignore[arg-type]


NO_GROUP = "without a cgroup only what a process has mapped is counted"
SAME_USER = "a script is the worker's user"
ROOT = "a script is root, as the worker is"
BY_KERNEL = "nothing but the kernel's own rules stands between"
NO_FILTER = "there is no system call filter; " + BY_KERNEL
NO_ROOT = "a script sees the host's files"
NO_IPC = "it shares the host's IPC namespace"
NO_GATE = 'a script that does not say `network = "none"` has the host\'s network'
NO_SCOPE = "Landlock keeps it from that from version 6 on (Linux 6.12)"
NO_COUNT = "processes that have ended, and wait to be reaped, count for the kernel alone, which lets "
SCORE = "the kernel lets it go back to the worker's score"
ROOT_LIMITS = "root may raise a limit where it has CAP_SYS_RESOURCE"
SHARED = ("/dev/shm", "/tmp", "/var/tmp", "/run/lock")
ABSTRACT, PATHNAME = "reach an abstract socket", "reach a socket in the file system"
NO_SOONER = "be no sooner to go than the worker when memory is short"
EVERYBODY = "signal the processes of the worker's user"
LOOSE_SIGNAL = "signal the worker"
ANOTHER, WORKERS = "use up what another job may have", "use up what the worker's user may have"
KERNEL_CALLS = (
    "add_key", "bpf", "fanotify_init", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
    "kexec_load", "keyctl", "open_by_handle_at", "perf_event_open", "userfaultfd",
)  # fmt: skip
OWN_FILES = (
    "enter the scratch of another job", "list the cache", "list the folder of scripts", "list the scratch folders",
    "list the worker's home", "read a secret of the worker's",
)  # fmt: skip


def spied(who: str) -> tuple[str, ...]:
    return (
        *(f"open {who} {name}" for name in ("environ", "mem", "maps")),
        f"list {who} descriptors",
        *(f"enter {who} {place}" for place in ("folder", "root")),
    )


def attacked(who: str) -> tuple[str, ...]:
    return (f"signal {who}", f"trace {who}", f"read the memory of {who}")


def families(*names: str) -> tuple[str, ...]:
    return tuple(f"open a socket: {name}" for name in names)


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
        opened("files are counted from 200 000 on; below, only bytes are", "make 5000 empty files"),
        full=held(Cause.DISK),
        unprivileged=held(Cause.DISK),
    ),
    "deep folders": case(7, "makes folders 3000 deep, closed ones, names that are no text", held()),
    "many descriptors": case(
        8,
        "opens files without end",
        held(),
        basic=opened(ROOT_LIMITS, may=("raise its limit of open files", "open 5000 files")),
        user={"basic": held()},
    ),
    "spin": case(9, "spins in 40 threads of 5 processes", held(Cause.CPU)),
    "deaf": case(10, "is deaf to signals", held(Cause.TIMEOUT)),
    "stopped": case(11, "stops itself", held(Cause.TIMEOUT)),
    "daemon": case(12, "leaves a daemon in a session of its own", held()),
    "comet": case(12, "leaves a process that becomes another all the time", held()),
    "held pipe": case(13, "leaves a child that holds its output open", held()),
    "flood": case(14, "prints 20 MB", held()),
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
        basic=opened(NO_COUNT + "root have any number", "make 200 zombies"),
        user=dict.fromkeys(
            ("container", "basic"), opened(NO_COUNT + "a user have what its own limit says", "make 200 zombies")
        ),
    ),
    "spying": case(
        22,
        "reads environment, memory, files of the worker and of its keeper",
        held(),
        basic=opened(ROOT, *spied("its keeper's"), *spied("the worker's")),
        user={"basic": opened(SAME_USER, *spied("the worker's"))},
    ),
    "attack": case(
        23,
        "signals, traces, reads the worker and its keeper",
        held(),
        basic=opened(ROOT, *attacked("its keeper"), *attacked("the worker")),
        user={
            "container": opened(NO_SCOPE, may=("signal its keeper", LOOSE_SIGNAL)),
            "basic": opened(SAME_USER, "signal its keeper", *attacked("the worker")),
        },
    ),
    "keeper killed": case(
        23,
        "kills its keeper",
        held(),
        basic=opened(
            f"{SAME_USER}; the job is tried three times, the worker lives, and what is left is killed a moment later",
            cause=Cause.SANDBOX,
            may=("leave a process",),
        ),
    ),
    "everybody killed": case(
        23,
        "signals every process it can",
        held(),
        basic=opened(SAME_USER, EVERYBODY),
        user={"container": opened(NO_SCOPE, may=(EVERYBODY,))},
    ),
    "files of others": case(
        24,
        "reads the worker's files, the cache, scratch folders, /etc/shadow",
        held(),
        basic=opened(ROOT, *OWN_FILES, "read /etc/shadow"),
        user={"basic": opened(SAME_USER, *OWN_FILES)},
    ),
    "poison": case(
        25,
        "writes to the cache, the interpreter, the system",
        held(),
        basic=opened(
            ROOT,
            "make a file beside the standard library",
            "make a file in /",
            "make a file in /etc",
            "make a file in /usr/bin",
            "write to the cache",
            "write to the standard library",
        ),
        user={
            "basic": opened(
                SAME_USER,
                "write to the cache",
                may=("make a file beside the standard library", "write to the standard library"),
            )
        },
    ),
    "artifacts": case(26, "puts links, pipes, devices where its artifacts should be", held()),
    "descriptors at birth": case(27, "uses descriptors and folders it was born with", held()),
    "shadowed modules": case(28, "brings a `json.py`, a `sitecustomize.py` of its own", held()),
    "no network": case(30, 'reaches addresses although it has `network = "none"`', held(), basic=held(Cause.INVALID)),
    "network": case(
        30,
        "reaches addresses of the host's network",
        opened(
            NO_GATE,
            "reach loopback of the host",
            may=("reach the metadata service", "reach the metadata service by IPv6", "send a datagram"),
        ),
    ),
    "unix sockets": case(
        31,
        "reaches UNIX sockets of the host",
        opened(NO_SCOPE, may=(ABSTRACT,)),
        container=opened(f"{NO_ROOT}; {NO_SCOPE}", PATHNAME, may=(ABSTRACT,)),
        basic=opened(NO_ROOT, PATHNAME, ABSTRACT),
    ),
    "socket families": case(
        32,
        "opens raw, packet, netlink and other sockets",
        held(),
        basic=opened(
            NO_FILTER,
            *families("netlink uevent", "packet", "raw"),
            may=families("alg", "bluetooth", "can", "netlink audit", "vsock", "xdp"),
        ),
        user={
            "basic": opened(
                NO_FILTER,
                *families("netlink uevent"),
                may=families("alg", "bluetooth", "can", "netlink audit", "vsock"),
            )
        },
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
            f"{ROOT}; {NO_FILTER}",
            "change its root",
            "make a device",
            "type into a terminal",
            may=(
                "make a user namespace",
                "make a user namespace by clone",
                "make namespaces",
                "mount",
                "name the host",
                "open /dev/mem",
            ),
        ),
        user={
            "basic": opened(
                NO_FILTER, "type into a terminal", may=("make a user namespace", "make a user namespace by clone")
            )
        },
    ),
    "privileges": case(
        34,
        "has or gains privileges",
        held(),
        basic=opened(ROOT, "become another user", "have a capability", "leave its groups"),
        user={"basic": held()},
    ),
    "terminal escapes": case(38, "prints escape sequences", held()),
    "forged log": case(39, "prints what looks like a log of the worker's", held()),
    "clock": case(40, "sets the clock", held(), basic=opened(ROOT, may=("set the clock",)), user={"basic": held()}),
    "priority": case(
        41,
        "raises its priority",
        opened(SCORE, NO_SOONER),
        container=opened(f"{SCORE}, unless the worker has CAP_SYS_RESOURCE", may=(NO_SOONER,)),
        basic=opened(
            ROOT,
            may=(
                "be nicer to itself",
                "be the last to go when memory is short",
                "have its files in real time",
                NO_SOONER,
                "run in real time",
            ),
        ),
        user=dict.fromkeys(("container", "basic"), opened(SCORE, NO_SOONER)),
    ),
    "kernel surface": case(
        42,
        "makes calls that exploits begin with (io_uring, bpf, keyrings, …)",
        held(),
        basic=opened(NO_FILTER, may=tuple(f"call {name}" for name in KERNEL_CALLS)),
    ),
    "x32 calls": case(
        42, "makes calls by the x32 table", held(), basic=opened(NO_FILTER, may=("call by the x32 table",))
    ),
    "i386 calls": case(
        42, "makes calls by the i386 table", held(Cause.SIGNAL, 31), basic=opened(NO_FILTER, "call by the i386 table")
    ),
    "counted by user": case(
        43,
        "uses up the inotify instances that the kernel counts by user",
        opened("they are counted for a template with all its slots", ANOTHER),
        container=held(),
        basic=opened(SAME_USER, ANOTHER, WORKERS),
        user=dict.fromkeys(
            ("unprivileged", "container"), opened("all slots count as the worker's user", ANOTHER, WORKERS)
        ),
    ),
    "killed while drained": case(
        45,
        "kills itself, or takes the worker's folders away, while its worker ends",
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
