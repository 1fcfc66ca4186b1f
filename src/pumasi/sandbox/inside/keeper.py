"""The keeper of a slot: gives birth to one job after another, holds each to its limits, and leaves nothing of any.

Forked from a template, and single-threaded as that is. With namespaces it is process 1 of the slot's own: whatever a
job leaves behind becomes its child, one `kill(-1)` reaches all of it, and when it goes, the kernel takes the rest.
Without, it is the job's subreaper. Its messages on a SOCK_SEQPACKET pair are JSON objects:

    to the keeper    {"go": meters}  with an fd for each: what it may read of its cgroup; the slot can be set up
                     {"run": spec}   with fds payload, report, stdout, stderr
                     {"stop": why}   SIGTERM, the grace time, SIGKILL
                     {"alive": s}    the lease holds for another s seconds (only where a lapsed lease must kill)
    from the keeper  {"born": 1}     its credentials tell the worker which process it is
                     {"ready": 1} · {"warn": what, "used": n, "limit": n}
                     {"ended": status, "killed_by": cause or null, "full": bool, "peaks": {…}, "seconds": s,
                      "clean": bool}  with the scratch as an fd, where that is a file system of the job's own
                     {"fault": text} the set-up failed before the script began

End of file on the socket means the worker is gone: everything is killed, and the keeper ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import socket
import struct

from . import bootstrap, cage, kernel
from .job import UNBORN, Job
from .measure import Measured
from .tree import Slot, Tree
from .wire import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Message = dict[str, Any]

IFF_UP, SIOCSIFFLAGS = 1, 0x8914
#: those that a job has of its own
NAMESPACES = (("mnt", kernel.CLONE_NEWNS), ("ipc", kernel.CLONE_NEWIPC))


class Keeper:
    """A slot from inside."""

    def __init__(self, control: socket.socket, slot: Message, ours: dict[str, list[str]], handlers: list[int]) -> None:
        self.control, self.slot, self.ours, self.handlers = control, slot, ours, handlers
        self.meters: dict[str, int] = {}
        self.sealed: bool = slot["sealed"]
        self.tree: Tree = Slot() if self.sealed else Tree()
        #: where a job's process says why it could not be set up
        self.faults = self.fault = -1
        #: the namespaces that the keeper is in between jobs
        self.home: list[tuple[int, int]] = []

    def work(self) -> None:
        """Set up the slot, then serve jobs until the worker is gone."""
        send(self.control, {"born": 1})
        message, fds = receive(self.control)
        if message is None:
            return
        self.meters = dict(zip(message["go"], map(aside, fds)))
        try:
            self.set_up()
        except OSError as error:
            send(self.control, {"fault": str(error)})
            return
        send(self.control, {"ready": 1})
        while True:
            message, fds = receive(self.control)
            if message is None:
                return
            if "run" in message:
                self.serve(message["run"], fds)

    def set_up(self) -> None:
        """What is alike for all jobs of the slot."""
        self.own_descriptors()
        os.umask(0o077)
        if self.sealed:
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
            socket.sethostname("pumasi")
            if self.slot["network"] == "none":
                raise_loopback()
            self.home = [(aside(os.open(f"/proc/self/ns/{name}", os.O_RDONLY)), kind) for name, kind in NAMESPACES]
            kernel.drop_bounding_set()
            kernel.prctl(kernel.PR_SET_SECUREBITS, kernel.SECUREBITS)
        else:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            if os.geteuid() == 0 and self.slot["uid"]:
                os.setgroups([])
        if self.slot["filters"]:
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            kernel.seccomp(self.slot["filters"]["slot"])
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)

    def own_descriptors(self) -> None:
        """All that is ours out of the way, and all that a preload has left open closed: what comes with a run comes in
        where its process has it."""
        self.control = socket.socket(fileno=aside(self.control.detach()))
        self.faults, self.fault = map(aside, os.pipe2(os.O_NONBLOCK))
        os.set_inheritable(cage.STDIN, True)
        kernel.close_range(cage.PAYLOAD, cage.KEEPERS - 1)

    def serve(self, run: Message, fds: list[int]) -> None:
        """One job, from birth until nothing of it holds memory; only then is its end told."""
        box = cage.Box(self.slot, run, -1)
        keepsakes: list[int] = []
        try:
            if fds != [cage.PAYLOAD, cage.REPORT, cage.NEW_STDOUT, cage.NEW_STDERR]:
                raise OSError(f"descriptors came in as {fds}")
            box.scratch = self.own_scratch(run)
            cage.prepare(box)
            job = Job(self.control, run, self.faults, self.measured(run, box.scratch))
            gc.freeze()  # nothing made so far concerns the collector of a job
            pid = os.fork()
        except OSError as error:
            told: Message = {"fault": f"no process could be made: {error}"}
        else:
            if pid == 0:
                self.birth(box)
            kernel.close_range(cage.PAYLOAD, cage.NEW_STDERR)
            told, keepsakes = job.keep(pid)
        self.go_home()
        send(self.control, told, keepsakes)
        kernel.close_range(cage.PAYLOAD, cage.KEEPERS - 1)

    def go_home(self) -> None:
        """Out of the job's namespaces, which end with that. The kernel frees the shared memory of one only later: what
        is in there is removed, or the next job would be charged for it."""
        if self.home:
            kernel.remove_ipc()
        for namespace, kind in self.home:
            kernel.setns(namespace, kind)

    def own_scratch(self, run: Message) -> int:
        """The job's own file system, as an fd, so that it can be measured, and its files kept, from outside of it."""
        if not self.sealed or run["scratch"]:
            return -1
        size = {"size": run["limits"]["disk"], "nr_inodes": run["inodes"]} if run["limits"].get("disk") else {}
        return kernel.tmpfs(mode="700", uid=cage.UID, gid=cage.UID, **size)

    def measured(self, run: Message, scratch: int) -> Measured:
        folder = f"{cage.DISKS}/{run['scratch']}" if self.sealed else run["scratch"]
        return Measured(self.tree, self.meters, scratch, folder, run["limits"].get("disk"))

    def birth(self, box: cage.Box) -> NoReturn:
        """In the child: the rest of the cage, then the script. Never returns."""
        try:
            cage.enter(box)
        except BaseException as error:  # told to the keeper; nothing else may run here
            with contextlib.suppress(OSError):
                os.write(self.fault, f"{type(error).__name__}: {error}"[:4000].encode())
            os._exit(UNBORN)
        bootstrap.run(self.ours, self.handlers)


def aside(fd: int) -> int:
    """A descriptor of the keeper's own, where no job has any."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, cage.KEEPERS)
    os.close(fd)
    return moved


def raise_loopback() -> None:
    """A network of one's own has nothing but `lo`, which is down at first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
