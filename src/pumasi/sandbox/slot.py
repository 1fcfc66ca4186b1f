"""A slot: the worker's end of a keeper. Made when it is first needed, kept for the next job, replaced when it
breaks."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pumasi.core.job import Limits
from pumasi.errors import SandboxFault
from pumasi.log import get_logger
from pumasi.sandbox.base import Birth, Ending, OnWarning, StopReason

KEEPER = Path(__file__).with_name("keeper.py")

log = get_logger(__name__)


class Slot:
    """Runs one job at a time, each in a fresh process below its keeper."""

    def __init__(self) -> None:
        self._keeper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._job_id = ""

    @property
    def ready(self) -> bool:
        """Whether the keeper is there and waits for a job."""
        return self._keeper is not None and self._keeper.poll() is None

    async def open(self) -> None:
        """Start the keeper, in a session of its own and with nothing of our environment."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            self._keeper = await asyncio.to_thread(_spawn, theirs)
        self._control = ours

    async def begin(self, birth: Birth, fds: Sequence[int], job_id: str) -> None:
        """Hand a process to be born to the keeper; `ending` must follow.

        `fds`: stdout, stderr, payload, report; the caller closes its copies. Raises: SandboxFault.
        """
        if not self.ready:
            await asyncio.to_thread(self.close)
            await self.open()
        self._job_id = job_id
        self._send({"run": msgspec.to_builtins(birth) | {"limits": _given(birth.limits)}}, fds)

    async def ending(self, on_warning: OnWarning) -> Ending:
        """Wait until nothing of the job is left. Raises: SandboxFault."""
        while True:
            message = await self._receive()
            if "ended" in message:
                return _ending(message)
            if "fault" in message:
                raise SandboxFault("the process could not be set up: {reason}", reason=message["fault"])
            if "warn" in message:
                on_warning(message["warn"], message["used"], message["limit"])

    def stop(self, why: StopReason, *, gently: bool = True) -> None:
        """End the run: SIGTERM, the grace time, SIGKILL; at once when not `gently`."""
        with contextlib.suppress(SandboxFault):
            self._send({"stop": why, "gently": gently})

    def alive(self, seconds: float) -> None:
        """The lease holds for another `seconds`."""
        with contextlib.suppress(SandboxFault):
            self._send({"alive": seconds})

    def close(self) -> None:
        """Let the keeper go: it kills what it runs, and ends."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(5)
            if self._keeper.poll() is None:
                self._keeper.kill()
                self._keeper.wait()
            self._keeper = None

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        if self._control is None:
            raise SandboxFault("the slot is closed")
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], list(fds))
        except OSError as error:
            raise SandboxFault("the keeper is gone: {reason}", reason=str(error)) from error

    async def _receive(self) -> dict[str, Any]:
        assert self._control is not None
        data = await asyncio.get_running_loop().sock_recv(self._control, 65536)
        if not data:
            await asyncio.to_thread(self.close)
            self._kill_orphans()
            raise SandboxFault("the keeper died while its job ran")
        message: dict[str, Any] = json.loads(data)
        return message

    def _kill_orphans(self) -> None:
        """The keeper is dead, and its orphans have become our children (we are a subreaper): those that carry the
        job's name are killed.

        The name stands in their environment, which they could have changed: at this level that is the best there is.
        """
        mark = f"PUMASI_JOB_ID={self._job_id}".encode()
        for pid in _orphans():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        log.warning("sandbox.keeper_died", job_id=self._job_id)


def _spawn(control: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(KEEPER), str(control.fileno())],
        pass_fds=[control.fileno()],
        env={"PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def _orphans() -> list[int]:
    found: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in Path(f"/proc/self/task/{thread}/children").read_text().split()]
    return found


def _given(limits: Limits) -> dict[str, float]:
    """The limits that are limits."""
    return {name: value for name, value in msgspec.to_builtins(limits).items() if value is not None}


def _ending(message: dict[str, Any]) -> Ending:
    status = message["ended"]
    by_signal = os.WIFSIGNALED(status)
    return Ending(
        exit_code=None if by_signal else os.WEXITSTATUS(status),
        signal=os.WTERMSIG(status) if by_signal else None,
        killed_by=message["killed_by"],
        peaks=Limits(**message["peaks"]),
        seconds=message["seconds"],
        clean=message["clean"],
    )
