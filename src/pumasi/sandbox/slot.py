"""A slot: the worker's end of a keeper. It runs one job at a time, each in a fresh process."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from pumasi.core.job import Limits
from pumasi.errors import SandboxFault
from pumasi.sandbox.base import Birth, Ending, OnWarning, StopReason, inodes_of
from pumasi.sandbox.cgroup import Group

#: seconds for a slot to be set up
SETUP_SECONDS = 10.0
#: beyond the deadline and the grace that the keeper holds, the worker looks itself
BACKSTOP_SECONDS = 15.0

Message = dict[str, Any]
_REASONS = frozenset({None, "timeout", "memory", "cpu", "processes", "disk", "output", "cancelled", "lost", "drain"})


class Slot:
    """What a template has forked. Its keeper may have run a script's preload: its word is checked for its form."""

    def __init__(
        self, control: socket.socket, *, uid: int | None, group: Group | None, sealed: bool, number: int = 0
    ) -> None:
        self._control = control
        self._group = group
        self._sealed = sealed
        self.number = number
        #: who its jobs are, for the host; None: the worker's own user
        self.uid = uid
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[tuple[Message, list[int]]] = self._loop.create_future()
        self._on_warning: OnWarning = lambda *_: None
        self._pidfd = -1
        self._patience: float | None = None
        self.alive = True
        control.setblocking(False)
        self._loop.add_reader(control, self._read)

    async def open(self) -> None:
        """Wait for the keeper, put it into its cgroup, and let it set up the slot. Raises: SandboxFault."""
        try:
            async with asyncio.timeout(SETUP_SECONDS):
                await self._next("born")
                meters = self._group.meters() if self._group else {}
                self._send({"go": list(meters)}, list(meters.values()))
                await self._next("ready")
        except TimeoutError:
            raise SandboxFault("a slot was not ready within {seconds} s", seconds=SETUP_SECONDS) from None

    def begin(self, birth: Birth, fds: Sequence[int], on_warning: OnWarning) -> None:
        """Have a process born; `ending` must follow.

        `fds`: stdout, stderr, payload, report; the caller closes its copies. Raises: SandboxFault.
        """
        if self._group is not None:
            # the keeper is in it, too
            processes = birth.limits.processes
            self._group.begin(memory=birth.limits.memory, processes=None if processes is None else processes + 1)
        self._on_warning = on_warning
        self._patience = None if birth.timeout is None else birth.timeout + birth.grace + BACKSTOP_SECONDS
        run = msgspec.to_builtins(birth) | {"limits": _given(birth.limits), "inodes": inodes_of(birth.limits.disk)}
        stdout, stderr, payload, report = fds
        self._send({"run": run}, [payload, report, stdout, stderr])

    async def ending(self) -> Ending:
        """Wait until nothing of the job is left. Raises: SandboxFault."""
        try:
            async with asyncio.timeout(self._patience):
                message, fds = await self._next("ended")
        except TimeoutError:
            self.kill()
            raise SandboxFault("the keeper did not hold its deadline") from None
        try:
            return self._observed(message, fds[0] if fds else -1)
        except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
            for fd in fds:
                os.close(fd)
            self.kill()
            raise SandboxFault("the keeper spoke nonsense: {reason}", reason=str(error)) from error

    def stop(self, why: StopReason, *, gently: bool = True) -> None:
        """End the run: SIGTERM, the grace time, SIGKILL; at once when not `gently`."""
        with contextlib.suppress(SandboxFault):
            self._send({"stop": why, "gently": gently})

    def extend(self, seconds: float) -> None:
        """The lease holds for another `seconds`. May be called from any thread."""
        with contextlib.suppress(SandboxFault):
            self._send({"alive": seconds})

    def kill(self) -> None:
        """End the keeper and all that it runs; the slot is of no use any more."""
        if self.alive:
            self.alive = False
            self._loop.remove_reader(self._control)
            self._control.close()
            if self._pidfd >= 0:
                # with namespaces the kernel ends all that a keeper has; without, it must do so itself
                with contextlib.suppress(ProcessLookupError):
                    if self._sealed:
                        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                os.close(self._pidfd)
                self._pidfd = -1

    async def close(self) -> None:
        """Let the keeper go, with all that it runs, and take its cgroup away."""
        self.kill()
        if self._group is not None:
            group, self._group = self._group, None
            await asyncio.to_thread(group.close)

    # -- messages -------------------------------------------------------------------------------------------------

    async def _next(self, wanted: str) -> tuple[Message, list[int]]:
        message, fds = await self._answer
        self._answer = self._loop.create_future()
        if wanted in message:
            return message, fds
        for fd in fds:
            os.close(fd)
        reason = str(message.get("fault", message))[:2000]
        raise SandboxFault("the process could not be set up: {reason}", reason=reason)

    def _read(self) -> None:
        try:
            data, ancillary, _, _ = self._control.recvmsg(65536, 1024)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        fds, pid = _attached(ancillary)
        try:
            message = json.loads(data) if data else {"fault": "the keeper died"}
        except ValueError:
            message = {"fault": "the keeper spoke nonsense"}
        if "warn" in message:
            self._warn(message)
            return
        if "born" in message and pid:
            self._take(pid)
        if not data:
            self.kill()
        if not self._answer.done():
            self._answer.set_result((message, fds))

    def _take(self, pid: int) -> None:
        """The keeper has said that it is there, and the kernel which process it is."""
        with contextlib.suppress(OSError):
            self._pidfd = os.pidfd_open(pid)
        if self._group is not None:
            self._group.attach(pid)

    def _warn(self, message: Message) -> None:
        what, used, limit = message.get("warn"), message.get("used"), message.get("limit")
        if isinstance(what, str) and isinstance(used, int | float):
            self._on_warning(what, used, limit if isinstance(limit, int | float) else None)

    def _send(self, message: Message, fds: Sequence[int] = ()) -> None:
        if not self.alive:
            raise SandboxFault("the keeper is gone")
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], list(fds))
        except OSError as error:
            raise SandboxFault("the keeper is gone: {reason}", reason=str(error)) from error

    def _observed(self, message: Message, scratch: int) -> Ending:
        status = int(message["ended"])
        by_signal = os.WIFSIGNALED(status)
        peaks = msgspec.convert(message["peaks"], Limits)
        killed_by, refused = message["killed_by"], 0
        if killed_by not in _REASONS:
            raise ValueError(f"killed by {killed_by!r}")
        if self._group is not None:
            usage = self._group.usage()
            memory = usage.memory if usage.memory is not None else peaks.memory
            processes = max(peaks.processes or 1, (usage.processes or 1) - 1)
            peaks = msgspec.structs.replace(peaks, memory=memory, processes=processes)
            killed_by = killed_by or ("memory" if usage.oom_kills else None)
            refused = usage.refused_forks
        return Ending(
            exit_code=None if by_signal else os.WEXITSTATUS(status),
            signal=os.WTERMSIG(status) if by_signal else None,
            killed_by=killed_by,
            peaks=peaks,
            seconds=float(message["seconds"]),
            clean=bool(message["clean"]),
            disk_full=bool(message["full"]),
            refused_forks=refused,
            scratch=scratch,
        )


def _attached(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    """The fds that came with a message, and the pid of its sender as the kernel says it."""
    fds: list[int] = []
    pid = 0
    for _, kind, data in ancillary:
        if kind == socket.SCM_RIGHTS:
            fds += [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data) // 4 * 4, 4)]
        elif kind == socket.SCM_CREDENTIALS:
            pid = int.from_bytes(data[:4], "little")
    return fds, pid


def _given(limits: Limits) -> dict[str, float]:
    """The limits that are limits."""
    return {name: value for name, value in msgspec.to_builtins(limits).items() if value is not None}
