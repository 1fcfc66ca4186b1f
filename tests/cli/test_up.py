"""`pumasi up` as a user meets it: one process, one script, from the first line to the drain."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Real = Callable[..., tuple[int, str, str]]
SCRIPT = """
from pumasi import script

def main(n=2, fail=False):
    for page in range(n):
        script.progress(page + 1, n, f"page {page + 1}")
        print("page", page + 1)
    open("out.txt", "w").write("pages")
    script.artifact("out.txt")
    if fail:
        raise ValueError("no more pages")
    return n
"""
SLEEPER = "import sys, time\nprint('asleep', flush=True)\ntime.sleep(60)\n"


class Up:
    """A running `pumasi up`."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.token_file = folder / ".pumasi" / "token.json"
        self._errors = (folder / "up.err").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pumasi", "up", "--port", "0", *words],
            stdout=subprocess.PIPE, stderr=self._errors, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.greeting = ""
        while "Ctrl-C stops it" not in self.greeting:
            line = self.process.stdout.readline()
            assert line, (folder / "up.err").read_text()
            self.greeting += line

    def end(self, number: int = signal.SIGINT) -> int:
        """Signal it, and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._errors.close()


@pytest.fixture
def up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """`pumasi up`, ended by the test or after it."""
    (folder / "scripts" / "pages.py").write_text(SCRIPT)
    (folder / "scripts" / "sleeper.py").write_text(SLEEPER)
    monkeypatch.setenv("PUMASI_GRACE", "0.2")
    monkeypatch.setenv("PUMASI_DRAIN", "0.2")
    running = Up(folder, "--slots", "2")
    yield running
    running.end(signal.SIGKILL)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process will do."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_whole_day(up: Up, real: Real, folder: Path) -> None:
    told = json.loads(up.token_file.read_text())
    assert f"gateway  {told['url']} (its API: {told['url']}/docs)\n" in up.greeting
    assert "2 slots, queues default, isolation full" in up.greeting
    code, out, err = real("submit", "pages", "--wait", "-p", "n=3")
    assert (code, out) == (0, "3\n")
    assert err == "page 1\npage 2\npage 3\n"
    code, out, err = real("submit", "pages", "--wait", "-p", "fail=true", "--json")
    failed = json.loads(out)
    assert (code, failed["cause"]) == (1, "error")
    log = real("logs", failed["id"], "-f")[1]
    assert "page 1\npage 2\n" in log  # buffered by the script, which printed it to a pipe: where it stands is chance
    assert log.count("ValueError: no more pages") == 1
    records = [json.loads(line) for line in real("logs", failed["id"], "--json")[1].splitlines()]
    assert {record["stream"] for record in records} == {"stdout", "stderr", "progress"}
    code, out, err = real("artifacts", failed["id"], "--out", "files")
    assert code == 0
    assert [path.read_text() for path in (folder / "files").rglob("out.txt")] == ["pages"]
    shown = real("show", failed["id"])[1]
    assert "failed: error (main raised an exception)" in shown
    assert "ValueError: no more pages" in shown
    assert " active " in real("workers")[1]


def test_watch_sees_jobs_through_to_their_end(up: Up, real: Real) -> None:
    good, bad = real("submit", "pages")[1].strip(), real("submit", "pages", "-p", "fail=true")[1].strip()
    assert real("watch", good)[0] == 0
    code, out, _err = real("watch", good, bad)
    assert code == 1
    for line in out.splitlines():
        assert line.split()[1] in (good, bad)


def test_cancel_reaches_a_running_job(up: Up, real: Real) -> None:
    id = real("submit", "sleeper")[1].strip()
    until(lambda: real("logs", id)[1] == "asleep\n")
    assert real("cancel", id[:30])[1] == f"{id}: its worker is told to stop it\n"
    code, _out, _err = real("watch", id)
    assert code == 1
    assert json.loads(real("show", id, "--json")[1])["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(up: Up, real: Real, folder: Path, number: int) -> None:
    id = real("submit", "sleeper")[1].strip()
    until(lambda: real("logs", id)[1] == "asleep\n")
    assert up.end(number) == 0
    assert not up.token_file.exists()
    assert "draining: running jobs get 200ms to finish; once more stops at once" in (folder / "up.err").read_text()
    assert json.loads(real("show", id, "--json")[1])["state"] == "pending"


def test_a_port_that_is_taken_is_told(real: Real, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for command in ("up", "gateway"):
            code, _out, err = real(command, "--port", str(port))
            assert code == 1
            assert f"error: port {port} of 127.0.0.1 is taken" in err
            assert "Traceback" not in err
