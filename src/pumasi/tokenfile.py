"""What a running gateway leaves for clients on its machine: `{"url", "token", "pid"}` in a file only its owner reads.

The file is made whole beside its place and linked into it, which fails when something is there: so it is never half
written, and two gateways on one data folder never overwrite each other's. One that a killed gateway left behind is
replaced, and its token goes on being good, so that callers in the middle of a wait are not locked out by a restart.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
from msgspec import Struct, ValidationError, convert

from pumasi.errors import Invalid, Unavailable

#: seconds by which the clocks of a file system and of the processes may differ
_SLACK = 2.0


class Told(Struct, frozen=True):
    """What the file says."""

    url: str
    token: str | None
    pid: int


def left_token(path: Path) -> str | None:
    """The token a killed gateway left behind, or a running one uses; None when there is none."""
    told = read(path)
    return told.token if told else None


def read(path: Path) -> Told | None:
    """What the file says; None when there is none, or nothing that makes sense. Raises: Invalid (not ours to read)."""
    try:
        return convert(json.loads(path.read_bytes()), Told)
    except (FileNotFoundError, ValueError, ValidationError):
        return None
    except PermissionError as error:
        text = "{path} belongs to another user; name a gateway with --url, and its token in PUMASI_TOKEN"
        raise Invalid(text, path=str(path)) from error
    except OSError:
        return None


def running(path: Path) -> Told | None:
    """What a gateway that runs now has left; None when none does. Raises: Invalid (not ours to read)."""
    told = read(path)
    return told if told is not None and (told.pid == os.getpid() or _runs(told.pid, path)) else None


@contextlib.contextmanager
def token_file(path: Path, url: str, token: str | None) -> Iterator[None]:
    """The file, for as long as the body runs.

    Raises:
        Unavailable: another gateway runs on this data folder.
        Invalid: the file cannot be made.
    """
    told = Told(url, token, os.getpid())
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _place(path, json.dumps({"url": told.url, "token": told.token, "pid": told.pid}).encode())
    except OSError as error:
        raise Invalid("{path} cannot be written: {why}", path=str(path), why=error.strerror or str(error)) from error
    try:
        yield
    finally:
        if read(path) == told:
            path.unlink(missing_ok=True)


def check_free(path: Path) -> None:
    """Raises: Unavailable when another gateway runs on this data folder."""
    told = read(path)
    if told is not None and _runs(told.pid, path):
        text = "a gateway already serves {folder} at {url} (process {pid}); use it, stop it, or choose another data_dir"
        raise Unavailable(text, folder=str(path.parent), url=told.url, pid=told.pid)


def _place(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        while True:
            try:
                os.link(draft, path)
                return
            except FileExistsError:
                check_free(path)
                path.unlink(missing_ok=True)
    finally:
        os.unlink(draft)


def _runs(pid: int, path: Path) -> bool:
    """Whether the process that wrote the file still runs; one that was born after the file only has its number."""
    if pid == os.getpid() or pid <= 0:
        return False
    try:
        return psutil.Process(pid).create_time() <= path.stat().st_mtime + _SLACK
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False
    except psutil.AccessDenied:
        return True
