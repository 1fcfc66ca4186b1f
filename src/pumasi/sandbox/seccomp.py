"""System call filters: what a script, or an exploit in one, may not even ask of the kernel.

Theory of operation. A filter is a classic BPF program, made here as bytes (an array of `struct sock_filter`) and handed
as data to the process that installs it by `prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER)` after PR_SET_NO_NEW_PRIVS. There
are two, because each installation costs CPU and every job pays it:

    slot_filter   once, in a slot's keeper; jobs inherit it. Denies what neither keeper nor job ever needs.
    job_filter    in every job, just before its script. Denies what the keeper sets it up with: mounts, namespaces.

Filters add up, and the strictest answer counts. The slot filter kills a process that calls by another architecture's
table (i386: the same numbers mean other calls) and refuses x32; `job_filter` therefore takes numbers for native ones,
and **must only be installed above a slot filter**. `clone3` is ENOSYS for jobs, since no filter sees its flags behind
the pointer; libc falls back to `clone`. An argument is compared by its low 32 bits wherever the kernel takes an int.

Denied is what a table names; the rest is allowed, as new calls come with every libc. ENOSYS answers callers that probe
and have a way round, EPERM the others. The numbers make up sorted runs, found by binary search: the kernel walks the
program once for each of its 470 calls at the installation, to remember those that are always allowed (since 5.11), so a
short path makes the installation cheap; afterwards `read`, `write` and their like do not run the program at all.
"""

import errno
import platform
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# name -> number; what an architecture does not have is left out
# fmt: off
EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460, "lsm_list_modules": 461, "open_tree_attr": 467,
}
NUMBERS: Mapping[str, Mapping[str, int]] = {
    "x86_64": EVERYWHERE | {
        "ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "ptrace": 101, "syslog": 103, "vhangup": 153,
        "pivot_root": 155, "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165,
        "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171,
        "iopl": 172, "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179, "nfsservctl": 180,
        "lookup_dcookie": 212, "clock_settime": 227, "kexec_load": 246, "add_key": 248, "request_key": 249,
        "keyctl": 250, "migrate_pages": 256, "unshare": 272, "move_pages": 279, "perf_event_open": 298,
        "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320,
        "bpf": 321, "userfaultfd": 323,
    },
    "aarch64": EVERYWHERE | {
        "lookup_dcookie": 18, "ioctl": 29, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42,
        "chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142, "sethostname": 161,
        "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "socket": 198, "socketpair": 199, "add_key": 217,
        "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225, "migrate_pages": 238,
        "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262, "name_to_handle_at": 264,
        "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
        "kexec_file_load": 294,
    },
}
# fmt: on
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT, TOP = 0x40000000, 0xFFFFFFFF

# answer or check -> calls. mbind and set_mempolicy are not here (numerical libraries), nor is personality.
SLOT = {
    "ENOSYS": "add_key request_key keyctl io_uring_setup io_uring_enter io_uring_register userfaultfd perf_event_open"
    " lsm_get_self_attr lsm_set_self_attr lsm_list_modules",
    "EPERM": "bpf ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp migrate_pages move_pages"
    " kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl quotactl_fd"
    " settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm vhangup syslog"
    " lookup_dcookie nfsservctl name_to_handle_at open_by_handle_at fanotify_init",
} | {name: name for name in ("socket", "socketpair", "ioctl")}
MOUNTS = "mount umount2 pivot_root move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr"
JOB = {"ENOSYS": "clone3", "EPERM": f"{MOUNTS} setns unshare chroot", "new": "clone"}
JOB_WITH_NAMESPACES = {"ENOSYS": "clone3", "EPERM": f"{MOUNTS} setns", "new": "clone unshare"}

CLONE_NEWTIME = 0x00000080  # for unshare alone: in clone it is part of the exit signal, where no signal reaches it
CLONE_NEWCGROUP = 0x02000000
CLONE_NEW_OTHERS = 0x7C020000  # mount, uts, ipc, user, pid, net

LOAD, AND, EQUAL, ABOVE, FROM, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x25, 0x35, 0x45, 0x06
NR, ARCH = 0, 4
ARG = (16, 24, 32)  # in struct seccomp_data, little endian: the low 32 bits
RETURNS = {"allow": 0x7FFF0000, "kill": 0x80000000} | {
    name: 0x00050000 | getattr(errno, name) for name in ("EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT")
}
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_TYPE_MASK, SOCK_DGRAM = 0xF, 2  # above SOCK_DGRAM are raw, packet, and what only rare protocols have
NETLINK_ROUTE = 0  # getaddrinfo and if_nameindex ask it
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # type into the terminal

SCAN = 3  # so few runs are tested one after the other; measured: 1 and all of them cost a fifth more to install

PROBE = """import ctypes, sys
program = sys.stdin.buffer.read()
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
done = libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0)
if done == 0:  # in force only if it answers before the bad descriptor does
    sys.exit(libc.ioctl(-1, 0x5412, 0) == -1 and ctypes.get_errno() != 1 and "the filter was taken but does nothing")
sys.exit(f"prctl: errno {ctypes.get_errno()}")
"""


class Op(NamedTuple):
    """One instruction. `then` and `other` are the labels a test goes to; without one it goes on to the next."""

    code: int
    value: int
    then: str = ""
    other: str = ""


class Run(NamedTuple):
    """Neighbouring calls with the same answer."""

    first: int
    last: int
    answer: str


Lines = list[Op | str]  # instructions, and labels before them


def supported() -> bool:
    """Whether there is a table for this machine."""
    return sys.platform == "linux" and sys.maxsize > TOP and platform.machine() in NUMBERS


def slot_filter(*, network: bool = True, machine: str | None = None) -> bytes:
    """For a keeper and all below it. Without `network` only AF_UNIX sockets are left: for hosts that offer no network
    namespace. Raises: ValueError where the machine has no table."""
    name = _known(machine)
    foreign = [Run(X32_BIT, TOP, "ENOSYS")] if name == "x86_64" else []
    return _assemble([
        Op(LOAD, ARCH),
        Op(EQUAL, AUDIT_ARCH[name], "", "kill"),
        Op(LOAD, NR),
        *_search(_runs(SLOT, NUMBERS[name]) + foreign),
        *_sockets(network),
        "ioctl",
        Op(LOAD, ARG[1]),
        Op(EQUAL, TIOCSTI, "EPERM"),
        Op(EQUAL, TIOCLINUX, "EPERM", "allow"),
    ])  # fmt: skip


def job_filter(*, namespaces: bool = False, machine: str | None = None) -> bytes:
    """For a job, above its slot's filter. With `namespaces` a browser may build its own sandbox (user, pid, network
    namespaces, chroot); mounts stay denied. Raises: ValueError where the machine has no table."""
    calls = JOB_WITH_NAMESPACES if namespaces else JOB
    denied = CLONE_NEWTIME | CLONE_NEWCGROUP | (0 if namespaces else CLONE_NEW_OTHERS)
    return _assemble([
        Op(LOAD, NR),
        *_search(_runs(calls, NUMBERS[_known(machine)])),
        "new",
        Op(LOAD, ARG[0]),
        Op(ANY_BIT, denied, "EPERM", "allow"),
    ])  # fmt: skip


def probe() -> str | None:
    """Try the slot filter in a process of its own: None when it holds, else why not. Blocks for some 30 ms."""
    if not supported():
        return f"no table of system calls for {sys.platform} {platform.machine()}"
    argv = [sys.executable, "-I", "-S", "-c", PROBE]
    try:
        done = subprocess.run(argv, input=slot_filter(), capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return done.stderr.decode(errors="replace").strip()[-300:] or f"the trial ended with {done.returncode}"


def _known(machine: str | None) -> str:
    name = machine or platform.machine()
    if name not in NUMBERS:
        raise ValueError(f"no table of system calls for {name}; there is one for {', '.join(NUMBERS)}")
    return name


def _runs(calls: Mapping[str, str], numbers: Mapping[str, int]) -> list[Run]:
    """The table's calls by number, neighbours with the same answer in one."""
    answers = {numbers[name]: answer for answer, names in calls.items() for name in names.split() if name in numbers}
    runs: list[Run] = []
    for number, answer in sorted(answers.items()):
        if runs and runs[-1].last == number - 1 and runs[-1].answer == answer:
            runs[-1] = runs[-1]._replace(last=number)
        else:
            runs.append(Run(number, number, answer))
    return runs


def _search(runs: Sequence[Run]) -> Lines:
    """Find the number's run by halves; a number in none is allowed."""
    if len(runs) <= SCAN:
        return _scan(runs)
    upper = runs[len(runs) // 2 :]
    label = f"from {upper[0].first}"
    return [Op(FROM, upper[0].first, label), *_search(runs[: len(runs) // 2]), label, *_search(upper)]


def _scan(runs: Sequence[Run]) -> Lines:
    lines: Lines = []
    for run in runs:
        miss = "allow" if run is runs[-1] else ""
        if run.first == run.last:
            lines.append(Op(EQUAL, run.first, run.answer, miss))
        else:
            lines += [Op(FROM, run.first, "", "allow"), Op(ABOVE, run.last, miss, run.answer)]
    return lines


def _sockets(network: bool) -> Lines:
    """Families first, then what of them."""
    inet, netlink = ("inet", "netlink") if network else ("EACCES", "EACCES")
    inside: Lines = [
        "netlink", Op(LOAD, ARG[2]), Op(EQUAL, NETLINK_ROUTE, "allow", "EAFNOSUPPORT"),
        "inet", Op(LOAD, ARG[1]), Op(AND, SOCK_TYPE_MASK), Op(ABOVE, SOCK_DGRAM, "EPERM", "allow"),
    ]  # fmt: skip
    return [
        "socketpair", Op(LOAD, ARG[0]), Op(EQUAL, AF_UNIX, "allow", "EAFNOSUPPORT"),
        "socket", Op(LOAD, ARG[0]), Op(EQUAL, AF_UNIX, "allow"), Op(EQUAL, AF_INET, inet), Op(EQUAL, AF_INET6, inet),
        Op(EQUAL, AF_NETLINK, netlink, "EAFNOSUPPORT"), *(inside if network else []),
    ]  # fmt: skip


def _assemble(lines: Iterable[Op | str]) -> bytes:
    """Put the returns that are used at the end, and distances in place of labels."""
    program = list(lines)
    used = {label for op in program if isinstance(op, Op) for label in (op.then, op.other)}
    for name, value in RETURNS.items():
        program += [name, Op(RETURN, value)] if name in used else []
    ops: list[Op] = []
    places: dict[str, int] = {}
    for line in program:
        if isinstance(line, Op):
            ops.append(line)
        else:
            places[line] = len(ops)
    # a distance is one byte: struct refuses one that is too long, or that goes back
    return b"".join(
        struct.pack("<HBBI", op.code, *(places[to] - here if to else 0 for to in (op.then, op.other)), op.value)
        for here, op in enumerate(ops, 1)
    )
