"""Real `pumasi` processes for tests: started in a folder of their own, killed by pid, never left behind."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil


class Processes:
    """Starts `pumasi` commands on one data folder, with a short lease."""

    def __init__(self, folder: Path, *, lease: float = 2.0) -> None:
        self.folder = folder
        self.scripts = folder / "scripts"
        self.scripts.mkdir(exist_ok=True)
        self.url = f"sqlite:///{folder}/pumasi.db?lease={lease}"
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        """`pumasi WORDS…`, its output in a file of its own below the folder."""
        output = self.folder / f"{words[0]}-{len(self._started)}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "pumasi", *words],
                cwd=self.folder,
                env={**clean_environment(), **self._settings(), **env},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def worker(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        """A worker on the folder's broker."""
        return self.start("worker", "--broker", self.url, *words, **env)

    def end(self) -> None:
        """Kill what still runs; the keepers then kill what they run."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()

    def _settings(self) -> dict[str, str]:
        return {
            "PUMASI_BROKER": self.url,
            "PUMASI_DATA_DIR": str(self.folder / "data"),
            "PUMASI_SCRIPTS": str(self.scripts),
            "PUMASI_HEARTBEAT": "0.4",
            "PUMASI_GRACE": "0.2",
            "PUMASI_LANG": "en",
        }


def clean_environment() -> dict[str, str]:
    """Nothing of the shell's settings, only what any program needs."""
    return {
        name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "LANG", "VIRTUAL_ENV")
    }


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


@contextlib.contextmanager
def processes(folder: Path, *, lease: float = 2.0) -> Iterator[Processes]:
    """Processes that end with the block."""
    started = Processes(folder, lease=lease)
    try:
        yield started
    finally:
        started.end()
