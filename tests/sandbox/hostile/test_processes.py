"""Scripts against other processes: floods of them, escapes from the kill, attacks on the worker and the keeper."""

import subprocess
from collections.abc import Iterator

import pytest

from pumasi.core.job import State
from tests.processes import alive
from tests.sandbox.hostile.bench import Bench, said
from tests.sandbox.hostile.conftest import opened
from tests.sandbox.hostile.expected import LEVELS

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORK_BOMB = """
def main():
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""


NEIGHBOUR = """
import os
def main():
    for _ in range(50):
        pid = os.fork()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
"""


async def test_fork_bomb(bench: Bench) -> None:
    """The neighbour in the other slot does not notice."""
    bench.system.script("neighbour.py", NEIGHBOUR)
    bomb = await bench.submit(FORK_BOMB, timeout=1.0, limits={"processes": 16})
    neighbour = await bench.system.run("neighbour")
    bomb = await bench.system.end(bomb)
    assert neighbour.state is State.COMPLETED, neighbour.error
    bench.compare("fork bomb", bomb, list(bench.left_of(bomb)))
    await bench.settled()


async def test_spin(bench: Bench) -> None:
    source = "import threading\ndef spin():\n    while True: pass\ndef main():\n    " + (
        "for _ in range(4):\n        if os.fork() == 0: break\n"
        "    for _ in range(8): threading.Thread(target=spin, daemon=True).start()\n    spin()"
    )
    await bench.row("spin", source, limits={"cpu": 1, "processes": 64})


async def test_deaf(bench: Bench) -> None:
    source = "def main():\n    for n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\n    sleep_on()"
    await bench.row("deaf", source, timeout=0.3)


async def test_stopped(bench: Bench) -> None:
    await bench.row("stopped", "def main(): os.kill(os.getpid(), signal.SIGSTOP)", timeout=0.3)


async def test_daemon(bench: Bench) -> None:
    source = """
def main():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(8):
                try: os.close(fd)
                except OSError: pass
            for n in range(1, 32):
                try: signal.signal(n, signal.SIG_IGN)
                except OSError: pass
            sleep_on()
        os._exit(0)
    os.wait()
    return could
"""
    await bench.row("daemon", source)


async def test_comet(bench: Bench) -> None:
    """Each process makes its successor and ends, each in a session of its own: no look at the tree sees it at rest."""
    source = """
def main():
    if os.fork() == 0:
        while True:
            if os.fork(): os._exit(0)
            os.setsid()
    time.sleep(0.05)
    return could
"""
    await bench.row("comet", source)


async def test_held_pipe(bench: Bench) -> None:
    source = "def main():\n    if os.fork() == 0: sleep_on()\n    return could"
    await bench.row("held pipe", source)


async def test_zombies(bench: Bench) -> None:
    source = """
def main():
    for _ in range(200):
        pid = os.fork()
        if pid == 0: os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    can("make 200 zombies", bool, True)
    return could
"""
    await bench.row("zombies", source, limits={"processes": 32})


@pytest.fixture
def victim() -> Iterator[int]:
    """A process of the worker's user, which stands for the worker."""
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        yield process.pid
        process.kill()


async def test_spying(bench: Bench, victim: int) -> None:
    source = """
def main(victim):
    for who, pid in (("its keeper's", os.getppid()), ("the worker's", victim)):
        for name in ("environ", "mem", "maps"):
            can(f"open {who} {name}", lambda: open(f"/proc/{pid}/{name}", "rb").close())
        can(f"list {who} descriptors", lambda: os.readlink(f"/proc/{pid}/fd/0"))
        can(f"enter {who} folder", os.listdir, f"/proc/{pid}/cwd/")
        can(f"enter {who} root", os.listdir, f"/proc/{pid}/root/")
    return could
"""
    await bench.row("spying", source, {"victim": victim})


async def test_attack(bench: Bench, victim: int) -> None:
    """Signal 0, and an address where nothing is: whether it may is all that is asked."""
    source = """
def main(victim):
    for who, pid in (("its keeper", os.getppid()), ("the worker", victim)):
        can(f"signal {who}", os.kill, pid, 0)
        can(f"trace {who}", in_child, call, NUMBERS["ptrace"], 0x4206, pid, 0, 0)
        can(f"read the memory of {who}", allowed_at, pid)
    return could

def allowed_at(pid):
    here = ctypes.create_string_buffer(1)
    mine, theirs = struct.pack("PN", ctypes.addressof(here), 1), struct.pack("PN", 4096, 1)
    try:
        call(NUMBERS["process_vm_readv"], pid, mine, 1, theirs, 1, 0)
    except OSError as error:
        return error.errno not in (1, 3, 13, 38)
"""
    await bench.row("attack", source, {"victim": victim})


async def test_keeper_killed(bench: Bench) -> None:
    source = "def main():\n    can('kill its keeper', os.kill, os.getppid(), 9)\n    return could"
    await bench.row("keeper killed", source)


async def test_everybody_killed(bench: Bench, victim: int) -> None:
    """Signal 0 where a script has neither processes nor a user of its own: 15 could end this very test."""
    alone = bench.level in ("full", "unprivileged") or (bench.level == "container" and bench.root)
    source = f"""
def main(victim):
    signal.signal(15, signal.SIG_IGN)
    try:
        if {alone}: os.kill(-1, 15)
    except ProcessLookupError:
        pass
    can("signal the processes of the worker's user", os.kill, victim, 0)
    return could
"""
    await bench.row("everybody killed", source, {"victim": victim})
    assert alive(victim)


@pytest.mark.parametrize("level", LEVELS)
async def test_killed_while_drained(level: str) -> None:
    """A script that kills itself, and takes what it can of the worker's folders with it, while the worker ends."""
    source = """
def main(data):
    print("ready", flush=True)
    can("rename the scratch folder", os.rename, data + "/scratch", data + "/elsewhere")
    if could:
        os.rename(data + "/elsewhere", data + "/scratch")
        return could
    os.kill(os.getpid(), 9)
"""
    async with opened(level, drain=5.0) as bench:
        job = await bench.submit(source, {"data": str(bench.system.folder / "data")})
        await bench.system.until(job, lambda job: job.started_at is not None)
        bench.worker.drain()
        job = await bench.system.end(job)
        bench.compare("killed while drained", job, [*said(job), *bench.left_of(job)])
    assert bench.system.exit_code == 0
