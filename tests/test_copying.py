"""Jobs from one broker to another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pumasi.broker import Broker, connect
from pumasi.copying import Copied, copy
from pumasi.core.job import Cause, Job, Query, QueueSettings, Record, State
from pumasi.core.outcome import Completed, Failed
from tests.broker.conformance.base import a_job, ended, leased, submitted


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Broker]:
    async with connect(f"sqlite:///{tmp_path}/source.db") as broker:
        yield broker


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Broker]:
    async with connect(f"memory://{tmp_path}") as broker:
        yield broker


def same(job: Job) -> Job:
    """But for what a store numbers by itself."""
    return replace(job, revision=0, change=0)


async def test_all_of_a_job_is_copied(source: Broker, target: Broker) -> None:
    lease = await leased(source, "done", labels={"a": "b"}, digest="d" * 64)
    await source.append(lease, [Record(1 << 32 | n, 1.0, "stdout", b"x" * 200) for n in range(2500)])
    blobs = {
        "result/done/1": b'"large"', "artifact/done/1/shot.png": b"png", "log/done/1": b"all of it",
        "script/" + "d" * 64: b"bundle",
    }  # fmt: skip
    for key, data in blobs.items():
        await source.put_blob(key, data)
    outcome = Completed(result_blob="result/done/1", result_size=7)
    await source.settle(lease, replace(outcome, report=replace(outcome.report, artifacts=("shot.png",))))
    await submitted(source, "waiting", run_at=4e9, unique="u", share="kim")
    await ended(source, "failed", Failed(cause=Cause.EXIT, error="x"))
    await source.resolve("failed", "discarded")
    await source.set_queue("default", QueueSettings(paused=True, fair=True))
    told: list[Copied] = []
    copied = await copy(source, target, told.append)
    assert (copied.total, copied.new, copied.known, copied.running, copied.conflicts) == (3, 3, 0, 0, ())
    assert told[-1] == copied
    for id in ("done", "waiting", "failed"):
        assert same(await target.get(id)) == same(await source.get(id))
    assert await target.read("done") == await source.read("done")
    for key, data in blobs.items():
        assert await target.get_blob(key) == data
    (queue,) = [queue for queue in await target.queues() if queue.name == "default"]
    assert (queue.paused, queue.fair) == (True, True)


async def test_it_is_safe_to_repeat_and_goes_on_where_it_was_cut_short(source: Broker, target: Broker) -> None:
    await source.submit([a_job(f"j{n:03}") for n in range(120)])

    def cut_short(copied: Copied) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copy(source, target, cut_short)
    copied = await copy(source, target)
    assert (copied.new, copied.known) == (70, 50)
    assert (await copy(source, target)).known == 120
    assert (await target.find(Query(limit=1))).totals == {"pending": 120}


async def test_what_runs_stays_and_what_has_no_place_is_named(source: Broker, target: Broker) -> None:
    await leased(source, "running")
    for n in range(5):
        await submitted(source, f"j{n}", unique=f"u{n}")
    await submitted(target, "mine", unique="u3", body_hash="other")
    copied = await copy(source, target)
    assert (copied.new, copied.running, copied.conflicts) == (4, 1, ("j3",))
    assert (await target.get("mine")).state is State.PENDING
