"""Programs to be measured: started, stopped, and looked at from outside."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

STOP_SECONDS = 20.0


class Program:
    """A program in a session of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], *, folder: Path, environment: dict[str, str], name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Until `ready()` says so. Raises: RuntimeError, with the end of its log, when it ends or is late."""
        deadline = time.monotonic() + seconds
        while not ready():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer:\n{self._last_words()}")

    def check(self) -> None:
        """Raises: RuntimeError, with the end of its log, when it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self._last_words()}")

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """Politely, then not; and whatever it leaves in its session."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def tree(pids: Sequence[int]) -> Iterator[psutil.Process]:
    """Processes and all that descend from them."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            yield process
            yield from process.children(recursive=True)


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time of the trees so far, that of children they have reaped included."""
    total = 0.0
    for process in tree(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_bytes(pids: Sequence[int]) -> int:
    """Memory of the trees, what is shared counted by its share."""
    total = 0
    for process in tree(pids):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Whether somebody answers on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
