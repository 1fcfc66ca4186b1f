"""The root of a template and of all its slots: read-only, made of just what scripts need.

What is shown: the system's programs and libraries, a few files of `/etc`, the interpreter with its environment, and
what the worker names. Everything else of the host is not there.
"""

from __future__ import annotations

import os
import sys

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: where it is put together, in a mount namespace that nobody else sees; nothing is ever shown from below here
PLACE = "/sys"
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    "alternatives", "ca-certificates", "chromium", "chromium.d", "fonts", "gai.conf", "host.conf", "hosts",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "locale.alias", "mime.types", "nsswitch.conf",
    "os-release", "pki", "protocols", "resolv.conf", "services", "ssl", "timezone",
)  # fmt: skip
#: of these, files that are written while a worker runs
LIVE = ("hosts", "resolv.conf")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = (("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
         ("stderr", "/proc/self/fd/2"))  # fmt: skip
FOLDERS = (
    "home/script/work",
    "proc",
    "tmp",
    "dev/shm",
    "run",
    "var/tmp",
    "etc",
    ".cache",
    ".scratch",
    ".empty",
    "root",
)
USERS = (
    "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    "script:x:1000:1000:script:/home/script:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
)
GROUP = "root:x:0:\nscript:x:1000:\nnogroup:x:65534:\n"


def build(what: dict[str, Any]) -> list[str]:
    """Put the root together and move into it; gives the folders that a job's own /tmp covers, in the order of /.shown.

    Args:
        what: `visible`, folders shown where they are; `cache` and `scratch`, folders shown under names of ours;
            `preload`, a folder shown as a script's own, or "".
    """
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", PLACE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=4m,nr_inodes=4k,mode=755")
    for folder in FOLDERS:
        os.makedirs(f"{PLACE}/{folder}", exist_ok=True)
    os.chmod(f"{PLACE}/.empty", 0)
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), PLACE + path)
        elif os.path.isdir(path):
            show(path)
    for name in ETC:
        if os.path.isdir(f"/etc/{name}") or name in LIVE:
            show(f"/etc/{name}")
        elif os.path.exists(f"/etc/{name}"):
            repeat(f"/etc/{name}")
    shown = outermost([*python_folders(), *what["visible"]])
    for path in shown:
        show(path)
    covered = [path for path in shown if path.startswith("/tmp/")]
    for number, path in enumerate(covered):
        show(path, f"/.shown/{number}")
    devices()
    written("etc/passwd", USERS)
    written("etc/group", GROUP)
    kernel.bind(what["cache"], f"{PLACE}/.cache")
    if what["scratch"]:
        kernel.bind(what["scratch"], f"{PLACE}/.scratch", writable=True)
    if what["preload"]:
        kernel.bind(what["preload"], f"{PLACE}/home/script/work")
    kernel.mount("proc", f"{PLACE}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.pivot(PLACE)
    sealed = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount(None, "/", None, sealed)
    return covered


def visible(more: list[str]) -> list[str]:
    """What a root would show, for a host where none can be made."""
    files = [f"/etc/{name}" for name in (*ETC, "passwd", "group")]
    return [*SYSTEM, *files, *outermost([*python_folders(), *more])]


def repeat(path: str) -> None:
    """A file of the host as it is now: each mount costs every job a little, a copy does not."""
    with open(path, "rb") as file:
        data = file.read()
    with open(PLACE + path, "wb") as file:
        file.write(data)


def show(path: str, name: str | None = None) -> None:
    """A file or folder of the host, read-only, at its own place or under another name."""
    target = PLACE + (name or path)
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        written(target[len(PLACE) + 1 :], "")
    kernel.bind(path, target)


def devices() -> None:
    """Those that every program expects, and no others."""
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            written(f"dev/{name}", "")
            kernel.mount(f"/dev/{name}", f"{PLACE}/dev/{name}", None, kernel.MS_BIND)
    for name, target in LINKS:
        os.symlink(target, f"{PLACE}/dev/{name}")


def written(path: str, text: str) -> None:
    with open(f"{PLACE}/{path}", "w") as file:
        file.write(text)


def python_folders() -> list[str]:
    """Of the interpreter that runs this and of its environment; `site` has not run yet, and is not asked."""
    prefix = os.path.dirname(os.path.dirname(sys.executable))
    environment = prefix if os.path.exists(f"{prefix}/pyvenv.cfg") else sys.prefix
    folders = [environment, sys.prefix, sys.base_prefix, sys.base_exec_prefix]
    folders += [os.path.dirname(os.path.realpath(__file__)), *linked_folders(environment)]
    return [folder for folder in folders if os.path.isdir(folder)]


def linked_folders(environment: str) -> list[str]:
    """Folders that an environment names in its `.pth` files: projects that are installed in place."""
    packages = f"{environment}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    found = []
    for name in sorted(os.listdir(packages)) if os.path.isdir(packages) else []:
        if name.endswith(".pth"):
            with open(f"{packages}/{name}", encoding="utf-8", errors="replace") as file:
                found += [line.strip() for line in file if line.startswith("/")]
    return found


def outermost(folders: list[str]) -> list[str]:
    """The folders without those that lie inside another, or are there anyway."""
    kept: list[str] = []
    for folder in sorted({os.path.abspath(folder) for folder in folders}):
        if not any((folder + "/").startswith(other + "/") for other in (*SYSTEM, *kept)):
            kept.append(folder)
    return kept
