"""Private servers for tests: real ones, on free ports of this machine, in folders of their own, stopped by pid.

Each module has one server. A server that is not installed skips the test, and says what to install; with `CI` set it
fails it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

#: seconds a server has to come up
PATIENCE = 30.0


class Server(ABC):
    """A server process that can be killed, frozen and started again on what it has kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The broker URL by which it is reached."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts it, in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready for clients."""

    def start(self) -> None:
        """Start it, again if need be, and wait until it answers."""
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                said = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                self.kill()
                raise AssertionError(f"{self.command()[0]} did not come up: {said}")
            time.sleep(0.02)

    def kill(self) -> None:
        """As the loss of its process would be: no goodbye."""
        if self._process is not None:
            ended = self._signal(signal.SIGKILL)
            self._process.wait()
            psutil.wait_procs(ended, timeout=PATIENCE)
            self._process = None

    def freeze(self) -> None:
        """It holds its connections, and says nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, however it stands."""
        self.kill()

    def _signal(self, number: int) -> list[psutil.Process]:
        """To the process and all that it has started, in whatever session; it starts nothing meanwhile."""
        assert self._process is not None
        reached = []
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self._process.pid)
            main.suspend()
            for process in (*main.children(recursive=True), main):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
                    reached.append(process)
        return reached


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def missing(what: str, install: str) -> None:
    """End the test: something is not installed."""
    text = f"{what} is not installed; install it: {install}"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)
