"""Collecting the files that a script declared, after every process of it is dead.

The script owned this folder, so no path below it is trusted: each file is opened with `openat2` beneath the folder and
through no symlink, must be a regular file with one name, and no larger than allowed. (Lesson of CVE-2024-28185 and
-28189: the glue that touches a job's files is what gets attacked.)
"""

import ctypes
import errno
import os
import stat
from collections.abc import Sequence
from fnmatch import fnmatchcase

from msgspec import Struct

SYS_OPENAT2 = 437  # the same on every architecture
RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x04, 0x08
MAX_BYTES = 64 * 1024 * 1024
#: files taken by patterns
MAX_FILES = 100

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Collected(Struct):
    """The artifacts' bytes by name, and why others were refused."""

    files: dict[str, bytes]
    refused: list[str]


def collect(scratch: int, declared: Sequence[str], patterns: Sequence[str], limit: int = MAX_BYTES) -> Collected:
    """Read the declared files, and those that a pattern means, in the folder `work` of a scratch, which is given as an
    fd; together at most `limit` bytes."""
    found = Collected({}, [])
    try:
        top = _open_beneath(scratch, "work", os.O_DIRECTORY)
    except OSError as error:  # the script has taken its own folder away
        found.refused += [f"artifact {name!r} was not collected: {error.strerror}" for name in declared]
        return found
    try:
        for name in dict.fromkeys([*declared, *_matching(top, patterns)]):
            try:
                data = _read(top, name, limit)
            except OSError as error:
                found.refused.append(f"artifact {name!r} was not collected: {error.strerror or error}")
            else:
                limit -= len(data)
                found.files[name] = data
    finally:
        os.close(top)
    return found


def _matching(top: int, patterns: Sequence[str]) -> list[str]:
    """Names of files below a folder that a pattern means; symlinks are not followed."""
    if not patterns:
        return []
    names = [
        os.path.normpath(os.path.join(here, file))
        for here, _, files, _ in os.fwalk(".", dir_fd=top)
        for file in sorted(files)
    ]
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)][:MAX_FILES]


def _read(top: int, name: str, limit: int) -> bytes:
    fd = _open_beneath(top, name)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(errno.EINVAL, "not a regular file of its own")
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, {limit} allowed")
        return file.read(limit)


def _open_beneath(top: int, name: str, flags: int = 0) -> int:
    flags |= os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    how = _OpenHow(flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    fd: int = _libc.syscall(SYS_OPENAT2, top, os.fsencode(name), ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return fd
