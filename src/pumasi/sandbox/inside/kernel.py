"""The kernel's calls that Python itself does not offer, by ctypes. Each raises OSError that names the call.

Numbers of system calls are those that all architectures share (424 and up); older ones go through libc by name.
Sources: the manual pages of each call; landlock.rst of the kernel's documentation.
"""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 1, 6
MOVE_MOUNT_F_EMPTY_PATH = 4

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 4, 38, 36
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 22, 24, 28
#: NOROOT, and it stays: uid 0 means nothing to an exec
SECUREBITS = 0b11
#: NO_SETUID_FIXUP: a change of user changes no capability
KEEP_ALL = 0b100

_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _CLOSE_RANGE, _MOUNT_SETATTR = 429, 430, 431, 432, 436, 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}.get(platform.machine(), -1)

libc = ctypes.CDLL(None, use_errno=True)
_syscall = libc.syscall
_syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(what: str, number: int, *args: Any) -> int:
    return _checked(_syscall(ctypes.c_long(number), *args), what)


def prctl(option: int, value: int = 0) -> None:
    """prctl(2) with one argument."""
    _checked(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave the namespaces named by the flags for new ones."""
    _checked(libc.unshare(flags), "unshare")


def setns(namespace: int, kind: int) -> None:
    """Enter a namespace that is held as a descriptor."""
    _checked(libc.setns(namespace, kind), "setns")


def setfsids(uid: int) -> None:
    """Whose the files are that this process makes from here on, and whose rights it has on others."""
    libc.setfsgid(uid)
    libc.setfsuid(uid)


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from `first` to `last`."""
    if _syscall(ctypes.c_long(_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(last), 0) != 0:
        os.closerange(first, min(last + 1, 65536))


#: by kind: the calls for the highest index in use, and for an identifier by its index whoever may read it
_IPC = (("shmctl", 14, 15), ("msgctl", 12, 13), ("semctl", 19, 20))


def remove_ipc() -> None:
    """Remove all shared memory, message queues and semaphores (System V) of the namespace this process is in."""
    about = ctypes.create_string_buffer(256)
    for name, info, stat_any in _IPC:
        control = getattr(libc, name)
        # semaphores have one argument more: a number within the set
        number = (0,) if name == "semctl" else ()
        for index in range(control(0, *number, info, about) + 1):
            identifier = control(index, *number, stat_any, about)
            if identifier >= 0:
                control(identifier, *number, 0, None)


# -- mounts --------------------------------------------------------------------------------------------------------


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2)."""
    words = [word if word is None else os.fsencode(word) for word in (source, target, kind, data)]
    _checked(libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount {target}")


def bind(source: str, target: str, *, writable: bool = False) -> None:
    """Show `source`, and what is mounted below it, at `target`; without set-uid programs, and without devices."""
    mount(source, target, None, MS_BIND | MS_REC)
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (0 if writable else MOUNT_ATTR_RDONLY)
    attr = struct.pack("QQQQ", attributes, 0, 0, 0)
    _call(f"mount_setattr {target}", _MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), AT_RECURSIVE, attr, len(attr))


def tmpfs(**options: Any) -> int:
    """A tmpfs that is mounted nowhere yet, as an fd: its size can be asked for, and its files read, wherever it is."""
    context = _call("fsopen tmpfs", _FSOPEN, b"tmpfs", 1)
    try:
        for name, value in options.items():
            _call(f"tmpfs {name}", _FSCONFIG, context, FSCONFIG_SET_STRING, name.encode(), str(value).encode(), 0)
        _call("tmpfs", _FSCONFIG, context, FSCONFIG_CMD_CREATE, None, None, 0)
        return _call("fsmount tmpfs", _FSMOUNT, context, 1, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    finally:
        os.close(context)


def move_mount(fd: int, target: str) -> None:
    """Mount what an fd holds."""
    _call(f"move_mount {target}", _MOVE_MOUNT, fd, b"", AT_FDCWD, os.fsencode(target), MOVE_MOUNT_F_EMPTY_PATH)


def pivot(root: str) -> None:
    """Make a mount point the root, and let go of the old one."""
    os.chdir(root)
    _call("pivot_root", _PIVOT_ROOT, b".", b".")
    _checked(libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")


# -- privileges ----------------------------------------------------------------------------------------------------


def drop_bounding_set() -> None:
    """Nothing that is executed from here on can gain a capability."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break


def drop_capabilities() -> None:
    """Every capability this process has."""
    _checked(libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)), "capset")


def seccomp(program: bytes) -> None:
    """Install a filter: an array of `struct sock_filter`. It needs no_new_privs."""
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    _checked(libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), head, 0, 0), "seccomp")


# -- Landlock ------------------------------------------------------------------------------------------------------

LOOK = 0b1101  # execute, read files and folders
#: what may be done to a file that is there: read, write, truncate, ioctl
USE = 0b1100_0000_0000_0110
#: of these, what a rule for a single file may say
FILE = USE | 0b1
#: rights that each version of the interface knows, from 1 on
_KNOWN = (0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
ALL = _KNOWN[-1]


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 when there is none."""
    return max(0, int(_syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), 1)))


def landlock_rules(version: int, allowed: list[tuple[str, int]]) -> int:
    """A set of rules, as an fd: only what is allowed, below each path, may be done to files; paths that are not there
    are left out. From version 6 on no signal and no abstract socket reaches a process outside.
    """
    known = _KNOWN[min(version, len(_KNOWN)) - 1]
    attr = struct.pack("QQQ", known, 0, 3 if version >= 6 else 0)[: 24 if version >= 6 else 8]
    rules = _call("landlock_create_ruleset", _LANDLOCK_CREATE, attr, ctypes.c_size_t(len(attr)), 0)
    for path, rights in allowed:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        fitting = known if stat.S_ISDIR(os.fstat(place).st_mode) else known & FILE
        rule = struct.pack("<Qi", rights & fitting, place)
        _call(f"landlock_add_rule {path}", _LANDLOCK_ADD, rules, 1, rule, 0)
        os.close(place)
    return rules


def landlock(rules: int) -> None:
    """From here on this process is held to the rules."""
    _call("landlock_restrict_self", _LANDLOCK_RESTRICT, rules, 0)
