"""A slot gives birth to fresh processes, holds them to their limits, and leaves nothing of any."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from pumasi.core.job import Limits
from pumasi.errors import SandboxFault
from pumasi.sandbox.base import Birth, Ending
from pumasi.sandbox.slot import Slot

MB = 1024 * 1024


class Bench:
    """A slot and a folder for its jobs."""

    def __init__(self, folder: Path) -> None:
        self.slot = Slot()
        self.scratch = folder
        self.warnings: list[str] = []
        self.out = b""
        self.err = b""
        self.report = b""

    async def begin(self, code: str, *, timeout: float | None = 20.0, grace: float = 0.2, **limits: float) -> None:
        self._fds = [os.memfd_create(name) for name in ("out", "err", "payload", "report")]
        birth = Birth(
            argv=[sys.executable, "-I", "-S", "-c", code],
            env={"MARK": "1"},
            folder=str(self.scratch),
            scratch=str(self.scratch),
            limits=Limits(**limits),  # type: ignore[arg-type]
            timeout=timeout,
            grace=grace,
            nice=10,
        )
        await self.slot.begin(birth, self._fds, "job-1")

    async def end(self) -> Ending:
        try:
            return await self.slot.ending(lambda what, used, limit: self.warnings.append(what))
        finally:
            self.out, self.err, _, self.report = (os.pread(fd, 1 << 20, 0) for fd in self._fds)
            for fd in self._fds:
                os.close(fd)

    async def run(self, code: str, **options: float | None) -> Ending:
        await self.begin(code, **options)  # type: ignore[arg-type]
        return await self.end()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.slot.close()


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_process_is_fresh_closed_and_nice(bench: Bench) -> None:
    code = (
        "import os; print(os.getpid(), sorted(os.listdir('/proc/self/fd')), dict(os.environ), os.nice(0), os.getcwd())"
    )
    first = await bench.run(code)
    pid, _, rest = bench.out.decode().partition(" ")
    assert first.exit_code == 0
    assert "['0', '1', '2', '3', '4', '5']" in rest  # 5 is the listing itself
    assert "'MARK': '1'" in rest
    assert "HOME" not in rest
    assert f" 10 {bench.scratch}" in rest
    await bench.run(code)
    assert not bench.out.decode().startswith(f"{pid} ")


@pytest.mark.parametrize(
    ("code", "exit_code", "number"),
    [
        ("raise SystemExit(3)", 3, None),
        ("import os; os._exit(137)", 137, None),
        ("import os; os.kill(os.getpid(), 9)", None, 9),
        ("import os; os.abort()", None, 6),
        ("import ctypes; ctypes.string_at(0)", None, 11),
    ],
)
async def test_an_exit_code_and_a_signal_are_told_apart(
    bench: Bench, code: str, exit_code: int | None, number: int | None
) -> None:
    ending = await bench.run(code)
    assert (ending.exit_code, ending.signal, ending.killed_by) == (exit_code, number, None)


SLEEP = "import time; time.sleep(60)"


@pytest.mark.parametrize(
    "code",
    [
        SLEEP,
        "import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; " + SLEEP,
        "import os; os.kill(os.getpid(), 19)",
        "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); " + SLEEP,
    ],
    ids=["sleeps", "ignores signals", "stops itself", "exits politely"],
)
async def test_wall_time_ends_a_script_whatever_it_does_about_signals(bench: Bench, code: str) -> None:
    assert (await bench.run(code, timeout=0.3)).killed_by == "timeout"


@pytest.mark.parametrize(
    ("code", "limits", "cause"),
    [
        (f"x = bytearray({300 * MB}); {SLEEP}", {"memory": 100 * MB}, "memory"),
        (
            f"import os\nfor _ in range(8):\n if os.fork() == 0:\n  x = bytearray({30 * MB})\n  {SLEEP}\n{SLEEP}",
            {"memory": 150 * MB},
            "memory",
        ),
        (f"import os\nfor _ in range(30):\n if os.fork() == 0: {SLEEP}\n{SLEEP}", {"processes": 10}, "processes"),
        ("import os\nwhile True:\n try: os.fork()\n except OSError: pass", {"processes": 10}, "processes"),
        (
            "import os\nfor _ in range(3):\n if os.fork() == 0: break\nwhile True: pass",
            {"cpu": 1.0},
            "cpu",
        ),
        (
            f"for n in range(10):\n open(f'f{{n}}', 'wb').write(bytes({4 * MB}))\n{SLEEP}",
            {"disk": 10 * MB},
            "disk",
        ),
    ],
    ids=["memory", "memory of children", "processes", "fork bomb", "CPU of children", "disk"],
)
async def test_a_limit_of_the_whole_tree_is_its_own_cause(
    bench: Bench, code: str, limits: dict[str, float], cause: str
) -> None:
    ending = await bench.run(code, **limits)
    what = cause
    assert ending.killed_by == cause or (cause == "cpu" and ending.signal == signal.SIGXCPU)
    assert getattr(ending.peaks, what) >= limits[what] * 0.9
    assert ending.clean


async def test_open_files_end_inside_the_script_only(bench: Bench) -> None:
    ending = await bench.run(
        "while True: open('/dev/null').__enter__() and None or globals().setdefault('k', []).append(open('/dev/null'))",
        open_files=50,
    )
    assert ending.exit_code == 1
    assert b"Too many open files" in bench.err


async def test_nothing_outlives_the_main_process(bench: Bench) -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
    os._exit(0)
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
os.wait()
"""
    ending = await bench.run(code)
    assert ending.exit_code == 0
    pids = [int(line) for line in bench.out.split()]
    assert pids
    assert not any(alive(pid) for pid in pids)


async def test_a_stop_is_gentle_first_and_says_why(bench: Bench) -> None:
    await bench.begin(
        "import signal, time\nsignal.signal(15, lambda *_: print('asked', flush=True))\nopen('ready', 'w').close()\n"
        "while True: time.sleep(60)"
    )
    await until((bench.scratch / "ready").exists)
    bench.slot.stop("cancelled")
    ending = await bench.end()
    assert (ending.killed_by, ending.signal) == ("cancelled", 9)
    assert bench.out == b"asked\n"


async def test_a_keeper_without_its_worker_kills_what_it_runs(bench: Bench) -> None:
    await bench.begin(f"import os; open('pid', 'w').write(str(os.getpid())); {SLEEP}")
    await until(lambda: (bench.scratch / "pid").exists() and (bench.scratch / "pid").read_text() != "")
    pid = int((bench.scratch / "pid").read_text())
    assert alive(pid)
    await asyncio.to_thread(bench.slot.close)
    await until(lambda: not alive(pid))


async def test_a_killed_keeper_is_a_sandbox_fault_and_the_slot_recovers(bench: Bench) -> None:
    with pytest.raises(SandboxFault):
        await bench.run(f"import os; os.kill(os.getppid(), 9); {SLEEP}")
    assert (await bench.run("print('next')")).exit_code == 0
    assert bench.out == b"next\n"


async def test_a_program_that_cannot_be_started_is_a_sandbox_fault_that_names_it(bench: Bench, tmp_path: Path) -> None:
    fds = [os.memfd_create("x") for _ in range(4)]
    birth = Birth(argv=["/no/such/python"], env={}, folder=str(tmp_path), scratch=str(tmp_path), limits=Limits(),
                  timeout=5.0, grace=0.0, nice=0)  # fmt: skip
    await bench.slot.begin(birth, fds, "job")
    with pytest.raises(SandboxFault, match="No such file"):
        await bench.slot.ending(lambda *_: None)
    for fd in fds:
        os.close(fd)
    assert (await bench.run("print('next')")).exit_code == 0


async def test_memory_near_its_limit_is_warned_of_once(bench: Bench) -> None:
    await bench.run(f"x = bytearray({100 * MB}); import time; time.sleep(1)", memory=115 * MB)
    assert bench.warnings == ["memory"]


async def test_a_lease_that_nobody_extends_kills_when_it_must(bench: Bench) -> None:
    fds = [os.memfd_create("x") for _ in range(4)]
    birth = Birth(argv=[sys.executable, "-I", "-S", "-c", SLEEP], env={}, folder="/", scratch=str(bench.scratch),
                  limits=Limits(), timeout=None, grace=5.0, nice=0, fence=0.3)  # fmt: skip
    await bench.slot.begin(birth, fds, "job")
    ending = await bench.slot.ending(lambda *_: None)
    for fd in fds:
        os.close(fd)
    assert ending.killed_by == "lost"
