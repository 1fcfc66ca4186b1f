"""Scripts that take memory: alone, by many, and where no limit of a process counts it."""

import pytest

from tests.sandbox.hostile.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = {"memory": "48MB"}


async def test_memory_bomb(bench: Bench) -> None:
    job = await bench.row("memory bomb", "def main():\n    kept = []\n    while True: kept.append(bytearray(8 << 20))",
                          limits=LIMIT)  # fmt: skip
    assert (job.peaks.memory or 0) >= 40 << 20


async def test_memory_of_children(bench: Bench) -> None:
    source = """
def main():
    for _ in range(50):
        if os.fork() == 0:
            kept = bytearray(8 << 20)
            sleep_on()
    sleep_on()
"""
    await bench.row("memory of children", source, limits={"memory": "100MB", "processes": 64})


async def test_shared_mapping(bench: Bench) -> None:
    source = """
import mmap
def main():
    kept = mmap.mmap(-1, 100 << 20)
    for at in range(0, 100 << 20, 4096): kept[at] = 1
    sleep_on()
"""
    await bench.row("shared mapping", source, limits=LIMIT, timeout=5.0)


async def test_memory_file(bench: Bench) -> None:
    source = """
def main():
    fd = os.memfd_create("kept")
    for _ in range(100): os.write(fd, bytes(1 << 20))
    time.sleep(0.3)
    can("hold 100 MB in a memory file", bool, True)
    return could
"""
    await bench.row("memory file", source, limits=LIMIT)


async def test_shared_folders(bench: Bench) -> None:
    source = """
def main():
    for folder in ("/dev/shm", "/tmp", "/var/tmp", "/run/lock"):
        can(f"fill {folder}", fill, f"{folder}/{MARK}", 60)
    return could
"""
    await bench.row("shared folders", source, limits=LIMIT)
