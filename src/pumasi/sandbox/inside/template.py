"""A template: a process that has done once what is alike for many jobs, and forks a slot whenever it is asked.

Two processes, so that a preload, which is code of somebody's, meets only what is sealed already:

    guard      outside; waits for the worker's end or the template's, and takes all that is inside with it
    template   process 1 of a namespace of its own: root made of what jobs need, then the user namespace, then preload

Messages on its SOCK_SEQPACKET pair: the spec comes first; then `{"ready": 1, "why": text}` goes to the worker, where a
text says why the preload cannot be used, or `{"fault": text}`. Each `{"slot": n}` with an fd, the keeper's end of a
pair, has a slot forked. Where the host offers no namespaces, the same two processes do the same work without them.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import os
import select
import signal
import socket
import sys
import traceback

from . import cage, kernel, root
from .keeper import Keeper
from .tree import Tree, children
from .wire import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Message = dict[str, Any]

#: for keepers to end what they run when their worker is gone
ORDERLY_SECONDS = 15.0
INSIDE = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS


def main(number: int) -> None:
    """Serve the worker at the other end of a descriptor until it is gone."""
    control = socket.socket(fileno=number)
    control.set_inheritable(False)
    spec, _ = receive(control)
    if spec is None:
        return
    try:
        if not spec["sealed"]:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        sync, theirs = socket.socketpair()
        pid = leave_behind(spec)
        if pid == 0:
            sync.close()
            inside(control, theirs, spec)
        theirs.close()
        guard(control, sync, pid, spec)
    except OSError as error:
        send(control, {"fault": str(error)})


def leave_behind(spec: Message) -> int:
    """Fork the template, into a process namespace of its own where there are any."""
    if spec["sealed"]:
        if spec["uids"]:
            kernel.unshare(kernel.CLONE_NEWPID)
        else:  # without privileges a user namespace comes first, with nobody in it but ourselves
            uid, gid = os.getuid(), os.getgid()
            kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID)
            write("/proc/self/setgroups", "deny")
            write_maps("self", [(0, uid, 1)], [(0, gid, 1)])
    return os.fork()


def guard(control: socket.socket, sync: socket.socket, pid: int, spec: Message) -> None:
    """Write the template's user map when it asks for it; then wait, and let nothing outlive us or the worker."""
    if spec["uids"] and spec["sealed"] and sync.recv(1):
        first, count = spec["uids"]
        write_maps(str(pid), [(0, first, count)], [(0, first, count)])
        sync.send(b"!")
    sync.close()
    template = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(control, 0)  # no interest in messages, only in their end
    poll.register(template, select.POLLIN)
    poll.poll()
    if not spec["sealed"]:  # its keepers have seen the same end, and kill what they run
        select.select([template], [], [], ORDERLY_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not spec["sealed"]:
        Tree().kill_all()


def inside(control: socket.socket, sync: socket.socket, spec: Message) -> NoReturn:
    """The template: seal itself, import what it is for, fork slots."""
    try:
        if spec["sealed"]:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
            seal(sync, spec)
        else:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        sync.close()
        os.environ.clear()
        os.environ.update({"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUTF8": "1"} | spec["env"])
        ours = set(sys.modules) - interpreter_modules()
        add_site_packages()
        template = Template(control, spec, ours)
    except OSError as error:
        send(control, {"fault": str(error)})
        os._exit(1)
    template.preload()
    template.serve()
    os._exit(0)


def seal(sync: socket.socket, spec: Message) -> None:
    """Away from the host, in the order that it needs: its files, its processes, its users, its network."""
    kernel.unshare(INSIDE)
    spec["slot"]["below_tmp"] = root.build(spec["root"])
    if spec["uids"]:
        own_what_follows(spec["uids"][0])
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        kernel.unshare(kernel.CLONE_NEWUSER | INSIDE)
        sync.send(b"?")
        if not sync.recv(1):
            raise OSError("the guard could not write the user map")
        os.setgroups([])
        become_root()
    if spec["network"] == "none":
        kernel.unshare(kernel.CLONE_NEWNET)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user has taken it back
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def own_what_follows(uid: int) -> None:
    """Who makes a namespace is charged for what its users have of things that are counted by user (inotify instances,
    pipes): that is nobody but this template, which keeps its capabilities until it is inside."""
    kernel.prctl(kernel.PR_SET_SECUREBITS, kernel.KEEP_ALL)
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def become_root() -> None:
    """The first user of the namespace we have entered."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


class Template:
    """Sealed, and ready to import."""

    def __init__(self, control: socket.socket, spec: Message, ours: set[str]) -> None:
        self.control, self.spec, self.ours = control, spec, ours
        self.handlers: list[int] = []
        self.keepers: set[int] = set()
        filters = spec["slot"]["filters"]
        spec["slot"]["filters"] = {name: base64.b64decode(text) for name, text in filters.items()}
        spec["slot"]["visible"] = ["/"] if spec["sealed"] else root.visible(spec["root"]["visible"])

    def preload(self) -> None:
        """Import what the manifest names. Whatever goes wrong is told: jobs then start cold."""
        before = {number: signal.getsignal(number) for number in signal.valid_signals()}
        why = self.imported() if self.spec["preload"] else ""
        self.ours -= set(self.spec["preload"])
        self.handlers = [n for n, handler in before.items() if signal.getsignal(n) is not handler]
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log that is followed comes by lines
        gc.collect()
        gc.freeze()
        gc.disable()
        send(self.control, {"ready": 1, "why": why})

    def imported(self) -> str:
        """Why the preload cannot be used; empty when it can."""
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
        with contextlib.suppress(OSError):
            os.chdir(self.spec["folder"])
        sys.path.insert(0, self.spec["folder"])
        try:
            for name in self.spec["preload"]:
                __import__(name)
        except BaseException as error:
            return "".join(traceback.format_exception_only(type(error), error)).strip()[-1000:]
        finally:
            with contextlib.suppress(ValueError):
                sys.path.remove(self.spec["folder"])
        threads = len(os.listdir("/proc/self/task"))
        return f"it has started {threads - 1} threads, which a fork would lose" if threads > 1 else ""

    def serve(self) -> None:
        """Fork slots until the worker is gone."""
        while True:
            message, fds = receive(self.control)
            if message is None:
                break
            if "slot" in message:
                self.fork_slot(message["slot"], fds[0])
                os.close(fds[0])
            with contextlib.suppress(ChildProcessError):
                while pid := os.waitpid(-1, os.WNOHANG)[0]:
                    self.keepers.discard(pid)
            if not self.spec["sealed"]:
                self.kill_orphans()
        if not self.spec["sealed"]:
            self.outlive_keepers()

    def outlive_keepers(self) -> None:
        """Each kills what it runs, now that the worker is gone; with namespaces the kernel does it for them."""
        for pid in self.keepers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self.keepers.clear()
        self.kill_orphans()

    def kill_orphans(self) -> None:
        """Without namespaces, what a keeper leaves that was killed itself becomes ours, and goes."""
        while orphans := [pid for pid in children(os.getpid()) if pid not in self.keepers]:
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def fork_slot(self, index: int, fd: int) -> None:
        """A keeper, in namespaces below ours; its user map is ours to write."""
        sync, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            sync.close()
            self.control.close()
            self.become_keeper(index, socket.socket(fileno=fd), theirs)
        theirs.close()
        if not self.spec["sealed"]:
            self.keepers.add(pid)
        elif sync.recv(1):
            write_maps(str(pid), *self.slot_maps(index))
            sync.send(b"!")
            os.waitpid(pid, 0)  # its child is the keeper
        sync.close()

    def become_keeper(self, index: int, control: socket.socket, sync: socket.socket) -> NoReturn:
        slot = dict(self.spec["slot"], uid=self.slot_uid(index))
        try:
            if self.spec["sealed"]:
                enter_slot(sync, self.spec)
            sync.close()
            Keeper(control, slot, by_top_name(self.ours), self.handlers).work()
        except BaseException as error:
            send(control, {"fault": f"{type(error).__name__}: {error}"})
        os._exit(0)

    def slot_maps(self, index: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """The users of a slot, seen from here: its keeper and its jobs, or, where one alone can be mapped, that one."""
        if self.spec["uids"]:
            both = [(0, 1 + 2 * index, 1), (cage.UID, 2 + 2 * index, 1)]
            return both, both
        one = [(cage.UID, 0, 1)]
        return one, one

    def slot_uid(self, index: int) -> int:
        """Who its jobs are, as they see it themselves."""
        if self.spec["sealed"]:
            return cage.UID
        return int(self.spec["uids"][0]) + 2 + 2 * index if self.spec["uids"] else os.getuid()


def enter_slot(sync: socket.socket, spec: Message) -> None:
    """From here on this process is the first of a slot."""
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.unshare(kernel.CLONE_NEWUSER)
    sync.send(b"?")
    if not sync.recv(1):
        raise OSError("the template could not write the user map")
    if spec["uids"]:
        become_root()
    network = kernel.CLONE_NEWNET if spec["network"] == "none" else 0
    kernel.unshare(INSIDE | kernel.CLONE_NEWPID | network)
    if os.fork():
        os._exit(0)  # whoever enters a process namespace is not in it; its children are


def by_top_name(modules: set[str]) -> dict[str, list[str]]:
    """Names of modules by their first part."""
    named: dict[str, list[str]] = {}
    for name in modules:
        named.setdefault(name.partition(".")[0], []).append(name)
    return named


def interpreter_modules() -> set[str]:
    """What a Python that starts has loaded by itself; a script's file of such a name is never imported by anybody."""
    return {name for name in sys.modules if name in sys.builtin_module_names} | {
        "os", "stat", "posixpath", "genericpath", "codecs", "io", "abc", "site", "encodings", "_collections_abc",
        "encodings.utf_8", "encodings.aliases", "_sitebuiltins", "__main__", "importlib._bootstrap", "zipimport",
        "importlib._bootstrap_external", "_frozen_importlib", "_frozen_importlib_external",
    }  # fmt: skip


def add_site_packages() -> None:
    """What `-S` has left out, now that nothing it runs can reach the host."""
    import site

    site.main()


def write_maps(pid: str, uids: list[tuple[int, int, int]], gids: list[tuple[int, int, int]]) -> None:
    """Which users a namespace has: (inside, outside, how many)."""
    for name, rows in (("uid_map", uids), ("gid_map", gids)):
        try:
            write(f"/proc/{pid}/{name}", "".join(f"{inside} {outside} {count}\n" for inside, outside, count in rows))
        except PermissionError as error:  # a root without CAP_SETFCAP may not be mapped (kernel 5.12)
            raise OSError(error.errno, f"{name} was refused; a worker without capabilities must not be uid 0") from None


def write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
