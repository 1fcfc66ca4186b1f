"""Jobs from one broker to another."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from pumasi.broker import Broker, connect
from pumasi.broker.places.keeping import MARK
from pumasi.copying import TOGETHER, Copied, copy, share_place
from pumasi.core.job import Cause, Job, Page, Query, QueueSettings, Record, State
from pumasi.core.logbook import weight
from pumasi.core.outcome import Completed, Failed
from pumasi.errors import JobNotFound
from tests.broker.conformance.base import a_job, ended, leased, submitted
from tests.servers.mongodb import mongo_databases, mongo_server, mongo_url
from tests.servers.postgres import postgres_url
from tests.servers.redis import shared as redis_server

__all__ = ["mongo_databases", "mongo_server", "mongo_url", "postgres_url"]


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
    assert (copied.total, copied.new, copied.known, copied.running, copied.conflicts) == (3, 3, 0, frozenset(), ())
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
    assert (copied.new, copied.running, copied.conflicts) == (4, {"running"}, ("j3",))
    assert (await target.get("mine")).state is State.PENDING


async def test_a_source_that_is_never_still_is_copied_all_the_same(source: Broker, target: Broker) -> None:
    lease = await leased(source, "running")
    await source.submit([a_job(f"j{n:03}") for n in range(120)])
    pages = 0

    async def find(query: Query) -> Page:
        nonlocal pages
        if query.changed_after is not None:
            pages += 1
            await source.append(lease, [Record(1 << 32 | pages, 1.0, "progress", b'[%d,null,""]' % pages)])
            await submitted(source, f"new{pages}")
        return await look(query)

    look, source.find = source.find, find  # type: ignore[method-assign]
    copied = await copy(source, target)
    assert copied.running == {"running"}
    assert (await target.find(Query(limit=1))).totals == {"pending": copied.new}
    assert copied.new >= 120
    assert pages < 10


async def test_what_was_begun_at_the_source_after_it_was_copied_is_named(source: Broker, target: Broker) -> None:
    for id in ("j0", "j1", "j2"):
        await submitted(source, id)
    await copy(source, target)
    await leased(source, "j0")
    await source.cancel("j1")
    copied = await copy(source, target)
    assert (copied.known, copied.begun, copied.running) == (3, {"j0", "j1"}, frozenset())
    await target.cancel("j0")
    await target.cancel("j1")
    assert not (await copy(source, target)).begun


async def test_what_the_source_forgets_meanwhile_is_passed_over(source: Broker, target: Broker) -> None:
    for id in ("j0", "j1"):
        await ended(source, id, Completed(result="1"))
    await submitted(source, "waiting")

    async def read(id: str, after: int = 0, limit: int = 1000) -> list[Record]:
        if id == "j1":
            raise JobNotFound(id=id)
        return await look(id, after, limit)

    look, source.read = source.read, read  # type: ignore[method-assign]
    assert (await copy(source, target)).new == 2
    assert (await target.get("j0")).result == "1"


async def test_long_logs_go_in_several_batches(source: Broker, target: Broker) -> None:
    for n in range(12):
        lease = await leased(source, f"j{n:02}")
        await source.append(lease, [Record(1 << 32 | m, 1.0, "stdout", b"x" * 200_000) for m in range(5)])
        await source.settle(lease, Completed(result="1"))
    sizes: list[int] = []

    async def adopt(entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        sizes.append(sum(weight(record) for _, log in entries for record in log))
        return await take(entries)

    take, target.adopt = target.adopt, adopt  # type: ignore[method-assign]
    assert (await copy(source, target)).new == 12
    assert len(sizes) > 1
    assert max(sizes) < TOGETHER + 2 * 1024 * 1024


async def test_the_target_looks_after_a_place_that_both_use(tmp_path: Path) -> None:
    place, one, other = f"file://{tmp_path}/blobs", f"sqlite:///{tmp_path}/one.db", f"sqlite:///{tmp_path}/other.db"
    async with connect(one, blobs=place) as source, connect(other, blobs=place) as target:
        lease = await leased(source, "done")
        await source.put_blob("result/done/1", b"1")
        await source.settle(lease, Completed(result_blob="result/done/1", result_size=1))
        await source.sweep()
        await copy(source, target)
        assert await target.get_blob("result/done/1") == b"1"
        assert await target.list_blobs(MARK) == {}
    async with connect(one) as source, connect(other) as target:
        await share_place(source, target)
        assert await target.list_blobs(MARK) == await source.list_blobs(MARK) != {}


@pytest.fixture(params=["redis", "postgresql", "mongodb"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Broker]:
    if request.param == "redis":
        url = f"redis://127.0.0.1:{redis_server().port}/0?prefix={tmp_path.name}"
    else:
        url = request.getfixturevalue({"postgresql": "postgres_url", "mongodb": "mongo_url"}[request.param])
    async with connect(url) as broker:
        yield broker


async def test_there_and_back(source: Broker, server: Broker, target: Broker) -> None:
    """By way of each server all comes out as it went in."""
    lease = await leased(source, "done", labels={"a": "b"}, digest="d" * 64, idempotency_key="i")
    await source.append(lease, [Record(1 << 32 | n, 1.5, "stdout", bytes([n % 256]) * 300) for n in range(2500)])
    blobs = {"result/done/1": b"1" * 300_000, "log/done/1": b"all", "script/" + "d" * 64: b"bundle"}
    for key, data in blobs.items():
        await source.put_blob(key, data)
    await source.settle(lease, Completed(result_blob="result/done/1", result_size=300_000))
    await ended(source, "failed", Failed(cause=Cause.EXIT, error="x"))
    await source.submit([a_job(f"j{n:03}", unique=f"u{n}", priority=n % 10) for n in range(120)])
    await source.set_queue("default", QueueSettings(paused=True, ageing=60.0, max_pending=500))
    assert (await copy(source, server)).new == 122
    assert (await copy(source, server)).known == 122
    assert (await copy(server, target)).new == 122
    ids = [job.id for job in (await source.find(Query(limit=1000))).jobs]
    for id in ids:
        assert same(await target.get(id)) == same(await source.get(id))
    assert await target.read("done") == await source.read("done")
    for key, data in blobs.items():
        assert await target.get_blob(key) == data
    (queue,) = [queue for queue in await target.queues() if queue.name == "default"]
    assert (queue.paused, queue.ageing, queue.max_pending, queue.pending) == (True, 60.0, 500, 120)
