"""Scripts against the kernel: calls that exploits begin with, and what is counted by user."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pumasi.sandbox import seccomp
from tests.notes import Notes
from tests.sandbox.hostile.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: of inotify
MOST_INSTANCES = 900

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="other tables of calls are of x86_64")


@pytest.mark.skipif(not seccomp.supported(), reason="no table of system calls for this machine")
async def test_kernel_surface(bench: Bench) -> None:
    source = """
def main():
    for name in ("io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "bpf", "perf_event_open",
                 "kexec_load", "init_module", "keyctl", "add_key", "open_by_handle_at", "fanotify_init"):
        can("call " + name, allowed, NUMBERS[name], -1, -1, -1, -1, -1, -1)
    return could
"""
    await bench.row("kernel surface", source)


@x86_64
async def test_x32(bench: Bench) -> None:
    source = "def main():\n    can('call by the x32 table', call, 0x40000000 | 39)\n    return could"
    await bench.row("x32 calls", source)


GETPID_OF_I386 = """
import ctypes, mmap, os
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
def works(): return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()
"""


@x86_64
async def test_i386(bench: Bench) -> None:
    if subprocess.run([sys.executable, "-Ic", f"{GETPID_OF_I386}assert works()"], check=False).returncode:
        pytest.skip("this kernel has no i386 calls")
    source = f"{GETPID_OF_I386}def main():\n    can('call by the i386 table', works)\n    return could"
    await bench.row("i386 calls", source)


async def test_covert_stores(bench: Bench) -> None:
    """What the kernel keeps for a user, or for everybody, and a later job could find."""
    source = """
KEY = int(MARK[-8:], 16) & 0x7FFFFFFF
def main():
    libc.shmget(KEY, 4096, 0o1600)
    libc.mq_open(b"/" + MARK.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    return could
"""
    await bench.row("covert stores", source)


async def test_counted_by_user(bench: Bench) -> None:
    """A user has so many inotify instances; who has used up all of them must not be the user of anybody else."""
    if int(Path("/proc/sys/fs/inotify/max_user_instances").read_text()) > MOST_INSTANCES:
        pytest.skip("a process cannot open as many files as a user may have instances")
    notes = Notes()
    await notes.open()
    source = f"""
{notes.source}
def main():
    try:
        while True: checked(libc.inotify_init1(0))
    except OSError:
        pass
    waits("full")
    return could
"""
    job = await bench.submit(source, limits={"open_files": MOST_INSTANCES + 50})
    await notes.noted("full")
    bench.system.script("neighbour.py", "import ctypes\ndef main():\n"
                        "    return ctypes.CDLL(None).inotify_init1(0) >= 0\n")  # fmt: skip
    neighbour = await bench.system.run("neighbour")
    worker_has = inotify()
    notes.go("full")
    job = await bench.system.end(job)
    await notes.close()
    could = ["use up what the worker's user may have"] * (not worker_has)
    could += ["use up what another job may have"] * (neighbour.result != "true")
    bench.compare("counted by user", job, [*could, *bench.left_of(job)])
    await bench.settled()


def inotify() -> bool:
    """Whether there is an instance left for us."""
    fd = ctypes.CDLL(None).inotify_init1(0)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("exit code 137", "def main(): os._exit(137)"),
        ("killed by itself", "def main(): os.kill(os.getpid(), 9)"),
        ("crash", "def main(): ctypes.string_at(0)"),
        ("abort", "def main(): os.abort()"),
        ("exit at exit", "import atexit\ndef main():\n    atexit.register(os._exit, 7)\n    return could"),
    ],
)
async def test_endings(bench: Bench, name: str, source: str) -> None:
    job = await bench.row(name, source)
    assert job.exit_code == {"exit code 137": 137, "exit at exit": 7}.get(name)


async def test_core(bench: Bench) -> None:
    source = """
def main():
    pid = os.fork()
    if pid == 0: ctypes.string_at(0)
    status = os.waitpid(pid, 0)[1]
    can("dump core", lambda: os.WCOREDUMP(status) or any("core" in name for name in os.listdir(".")))
    return could
"""
    await bench.row("core dump", source)
