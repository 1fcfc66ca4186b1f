"""What a run prints beyond its log: kept where that is asked for, bounded, and never in the way."""

import os
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Job, State
from pumasi.core.logbook import HEAD_BYTES, TAIL_BYTES
from pumasi.runner.overflow import Overflow
from tests.harness import System

MIB = 1024 * 1024


def pieces(data: bytes, size: int = 64 * 1024) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [0, 1, HEAD_BYTES])
async def test_what_a_log_holds_is_not_kept_twice(tmp_path: Path, size: int) -> None:
    overflow = Overflow(tmp_path / "none", MIB)
    for piece in pieces(b"x" * size):
        overflow.add(piece)
    assert await overflow.take() is None


@pytest.mark.parametrize("size", [HEAD_BYTES + 1, 2 * MIB])
@pytest.mark.parametrize("step", [1000, 64 * 1024, 3 * MIB])
async def test_all_of_it_is_kept(tmp_path: Path, size: int, step: int) -> None:
    data = os.urandom(size)
    overflow = Overflow(tmp_path, 2 * MIB)
    for piece in pieces(data, step):
        overflow.add(piece)
    assert await overflow.take() == data
    assert list(tmp_path.iterdir()) == []


async def test_no_more_than_is_allowed(tmp_path: Path) -> None:
    data = os.urandom(3 * MIB)
    overflow = Overflow(tmp_path, MIB)
    for piece in pieces(data):
        overflow.add(piece)
    whole = await overflow.take()
    assert whole and whole[:MIB] == data[:MIB]
    assert whole[MIB:].decode() == f"\n… {2 * MIB} bytes left out: more than is kept of a run\n"


async def test_a_full_disk_costs_the_rest_and_nothing_else(tmp_path: Path) -> None:
    overflow = Overflow(tmp_path / "none", MIB)
    for piece in pieces(b"x" * MIB):
        overflow.add(piece)
    assert await overflow.take() == f"\n… {MIB} bytes left out: more than is kept of a run\n".encode()


FLOOD = """
import sys
for n in range(60_000):
    print("line", n, "x" * 40)
    if n == 30_000:
        print("in the middle", file=sys.stderr, flush=True)
"""


async def flooded(system: System) -> Job:
    system.script("flood.py", FLOOD)
    job = await system.run("flood", args=["go"])
    assert job.state is State.COMPLETED, job
    return job


async def test_a_run_that_floods_its_log_is_kept_whole_when_asked_for(system: System) -> None:
    async with system.working(full_log_limit=16 * MIB):
        job = await flooded(system)
    lines = (await system.broker.whole_log(job)).decode().splitlines()
    assert [line for line in lines if line.startswith("line")] == [f"line {n} {'x' * 40}" for n in range(60_000)]
    assert "in the middle" in lines and len(lines) == 60_001
    assert list(await system.broker.list_blobs("log/")) == [f"log/{job.id}/1"]


async def test_unasked_for_no_more_than_the_log_is_kept(system: System) -> None:
    async with system.working():
        job = await flooded(system)
    whole = await system.broker.whole_log(job)
    assert whole.startswith(b"line 0 ") and len(whole) < HEAD_BYTES + TAIL_BYTES + MIB
    assert await system.broker.list_blobs("log/") == {}


async def test_attempts_follow_one_another(system: System) -> None:
    """A long one, a short one."""
    source = """
        import os, sys
        attempt = os.environ["PUMASI_ATTEMPT"]
        print("attempt", attempt)
        if attempt == "1":
            print("x" * 500_000)
            sys.exit(1)
    """
    system.script("twice.py", source)
    async with system.working(full_log_limit=MIB):
        job = await system.run("twice", args=["go"], retry={"max_attempts": 2, "delay": 0})
    assert job.state is State.COMPLETED, job
    whole = await system.broker.whole_log(job)
    assert whole == b"attempt 1\n" + b"x" * 500_000 + b"\nattempt 2\n"


async def test_a_whole_log_that_went_away_leaves_the_records(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    async with system.working(full_log_limit=16 * MIB):
        job = await flooded(system)

    async def gone(self: Broker, key: str) -> Any:
        return None

    monkeypatch.setattr(type(system.broker), "get_blob", gone)
    assert (await system.broker.whole_log(job)).startswith(b"line 0 ")
