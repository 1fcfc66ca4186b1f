"""The worker's end of a template: started, asked for slots, replaced when it is gone."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from msgspec import Struct

from pumasi.errors import SandboxFault
from pumasi.sandbox.base import Need
from pumasi.sandbox.cgroup import Cgroups, Group
from pumasi.sandbox.slot import Slot
from pumasi.sandbox.uids import Uids

START = Path(__file__).with_name("inside") / "start.py"
#: for a template without a preload to be ready, and for one with
BLANK_SECONDS, PRELOAD_SECONDS = 20.0, 60.0
#: slots of one template: as many as its block of uids has room for
MAX_SLOTS = 1000


class Host(Struct, kw_only=True):
    """How templates are made here: the level, and what it is made of."""

    level: str
    python: str
    #: folders shown to scripts beside the interpreter's own
    visible: list[str]
    cache: str
    scratch: str
    sealed: bool = False
    landlock: int = 0
    #: programs by name: slot, job, browser; and `offline`, a slot's where no namespace keeps it from the network
    filters: dict[str, bytes] = {}
    uids: Uids | None = None
    cgroups: Cgroups | None = None
    #: bytes of a template itself
    memory: int | None = None

    @property
    def holds_offline(self) -> bool:
        """Whether a script can be kept from the network."""
        return self.sealed or bool(self.filters)


class Template:
    """One template, and the slots it has forked."""

    def __init__(self, host: Host, need: Need, number: int) -> None:
        self.need = need
        self.idle: list[Slot] = []
        #: slots in use
        self.busy = 0
        #: when it was last asked for, by the order of asking
        self.asked = 0
        #: why its preload cannot be used; "" when it can; None while it is not known
        self.unfit: str | None = None
        self._host, self._number = host, number
        self._numbers = list(range(MAX_SLOTS - 1, -1, -1))
        self._block = host.uids.take() if host.uids else None
        self._group: Group | None = host.cgroups.group(f"template-{number}") if host.cgroups else None
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._process is not None and self._process.poll() is None

    async def open(self) -> None:
        """Start it, and wait until it has imported what it is for; `unfit` says why it could not.

        Raises: SandboxFault.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        with theirs:
            process = await self._start(theirs)
        if self._group is not None:
            self._group.begin(memory=self._host.memory, processes=None)
            self._group.attach(process.pid)
        ours.send(json.dumps(self._spec()).encode())
        seconds = PRELOAD_SECONDS if self.need.preload else BLANK_SECONDS
        try:
            async with asyncio.timeout(seconds):
                answer = await self._receive()
        except TimeoutError:
            raise SandboxFault("the template was not ready within {seconds} s", seconds=seconds) from None
        if "fault" in answer:
            raise SandboxFault("the template could not be made: {reason}", reason=str(answer["fault"]))
        self.unfit = str(answer.get("why", ""))

    async def _start(self, control: socket.socket) -> subprocess.Popen[bytes]:
        """Start its process. A cancellation waits for that: else nobody would know of it."""
        starting = asyncio.create_task(asyncio.to_thread(_spawn, self._host.python, control))
        try:
            return await asyncio.shield(starting)
        finally:
            self._process = await starting

    async def slot(self) -> Slot:
        """Fork a slot. Raises: SandboxFault."""
        if self._control is None or not self._numbers:
            raise SandboxFault("the template is gone")
        number = self._numbers.pop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        group = self._host.cgroups.group(f"slot-{self._number}-{number}") if self._host.cgroups else None
        uid = self._block[0] + 2 + 2 * number if self._block else None
        slot = Slot(ours, uid=uid, group=group, sealed=self._host.sealed, number=number)
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps({"slot": number}).encode()], [theirs.fileno()])
            except OSError as error:
                await self.discard(slot)
                raise SandboxFault("the template is gone: {reason}", reason=str(error)) from error
        try:
            await slot.open()
        except SandboxFault:
            await self.discard(slot)
            raise
        return slot

    async def discard(self, slot: Slot) -> None:
        """A slot that is of no use any more; its place is free once nothing of it is left."""
        await slot.close()
        self._numbers.append(slot.number)
        if not self._host.sealed and self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(b'{"orphans": 1}')

    async def close(self) -> None:
        """It and everything in it."""
        for slot in self.idle:
            await slot.close()
        self.idle.clear()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._group is not None:
            self._group.close()
            self._group = None
        if self._block is not None and self._host.uids is not None:
            self._host.uids.give_back(self._block[0])
            self._block = None

    async def _receive(self) -> dict[str, Any]:
        assert self._control is not None
        data = await asyncio.get_running_loop().sock_recv(self._control, 65536)
        if not data:
            return {"fault": "it ended before it was ready"}
        try:
            answer = json.loads(data)
        except ValueError:
            return {"fault": "it spoke nonsense"}
        return answer if isinstance(answer, dict) else {"fault": "it spoke nonsense"}

    def _spec(self) -> dict[str, Any]:
        host, need = self._host, self.need
        files = f"{host.cache}/{need.digest}/files" if need.digest else ""
        inside = "/home/script/work" if host.sealed else files
        filters = dict(host.filters)
        offline = filters.pop("offline", b"")
        if filters and need.network == "none" and not host.sealed:
            filters["slot"] = offline
        return {
            "sealed": host.sealed,
            "uids": self._block,
            "network": need.network,
            "preload": need.preload,
            "folder": f"{inside}/{need.folder}" if need.folder else inside,
            "env": _environment(host),
            "root": {"visible": host.visible, "cache": host.cache, "scratch": host.scratch, "preload": files},
            "slot": {
                "sealed": host.sealed,
                "network": need.network,
                "landlock": host.landlock,
                "filters": {name: base64.b64encode(program).decode() for name, program in filters.items()},
                "steps": self._steps(),
                "writable": ["/home/script", "/tmp", "/dev/shm"] if host.sealed else [],  # noqa: S108
            },
        }

    def _steps(self) -> str:
        match self._host.level:
            case "full" | "unprivileged":
                return "full" if self._block else "unprivileged"
            case "container":
                return "container" if self._block else "container, one user"
            case level:
                return level


def _environment(host: Host) -> dict[str, str]:
    """What every script of these templates has, so that its process need not set it."""
    env = {name: os.environ[name] for name in ("TZ",) if name in os.environ}
    if host.sealed:
        env |= {"HOME": "/home/script", "TMPDIR": "/tmp", "PYTHONPATH": "/home/script/work"}  # noqa: S108
    return env | {"PATH": f"{os.path.dirname(host.python)}:/usr/local/bin:/usr/bin:/bin"}


def _spawn(python: str, control: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-I", "-S", "-B", "-X", "utf8", str(START), str(control.fileno())],
        pass_fds=[control.fileno()],
        env={"PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
