"""What is in the spool survives its worker."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from pumasi.core.job import Job, Lease
from pumasi.core.outcome import Completed
from pumasi.runner.runner import Finished
from pumasi.worker.spool import CUT_BYTES, Spool


def finished(id: str, blob: bytes = b"") -> Finished:
    lease = Lease(job=Job(id=id, script="s"), token="t", expires_in=30.0)
    return Finished(lease=lease, outcome=Completed(result='{"a": 1}'), blobs={"b": blob} if blob else {})


async def opened(folder: Path, name: str) -> Spool:
    spool = Spool(folder, name)
    spool.open()
    return spool


async def test_what_was_dropped_is_gone_and_the_rest_is_adopted_by_the_next(tmp_path: Path) -> None:
    first = await opened(tmp_path, "first")
    numbers = await asyncio.gather(*(first.put(finished(f"job-{n}", b"x" * 1000)) for n in range(5)))
    for number in numbers[:3]:
        first.drop(number)
    await first.close()
    second = await opened(tmp_path, "second")
    adopted = await second.adopt()
    assert [item.lease.id for _, item in adopted] == ["job-3", "job-4"]
    assert adopted[0][1].blobs == {"b": b"x" * 1000}
    for number, _ in adopted:
        second.drop(number)
    await second.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_living_workers_spool_is_left_alone(tmp_path: Path) -> None:
    first, second = await opened(tmp_path, "first"), await opened(tmp_path, "second")
    await first.put(finished("job"))
    assert await second.adopt() == []
    await first.close()
    assert [item.lease.id for _, item in await second.adopt()] == ["job"]
    await second.close()


async def test_a_torn_or_damaged_end_loses_only_itself(tmp_path: Path) -> None:
    first = await opened(tmp_path, "first")
    for n in range(3):
        await first.put(finished(f"job-{n}"))
    await first.close()
    (path,) = tmp_path.glob("first-*.spool")
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    second = await opened(tmp_path, "second")
    assert [item.lease.id for _, item in await second.adopt()] == ["job-0", "job-1"]
    await second.close()


async def test_a_killed_process_leaves_what_it_was_told_is_safe(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_spool import finished, opened
from pathlib import Path
async def main():
    spool = await opened(Path({str(tmp_path)!r}), "killed")
    await spool.put(finished("job"))
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False)
    assert done.returncode == -9
    spool = await opened(tmp_path, "next")
    assert [item.lease.id for _, item in await spool.adopt()] == ["job"]
    await spool.close()


async def test_a_file_in_which_nothing_waits_does_not_grow_for_ever(tmp_path: Path) -> None:
    spool = await opened(tmp_path, "w")
    for n in range(10):
        spool.drop(await spool.put(finished(f"job-{n}", b"x" * CUT_BYTES)))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * CUT_BYTES
    await spool.close()
    assert list(tmp_path.iterdir()) == []
