import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker import Broker
from pumasi.client import AsyncClient
from pumasi.core.job import Job, Limits, Record, State, Worker
from pumasi.core.outcome import Completed, Failed, Outcome
from pumasi.core.times import format_time
from pumasi.errors import (
    ArtifactNotFound,
    BadFields,
    Conflict,
    Denied,
    Invalid,
    JobFailed,
    JobNotFound,
    ScriptNotFound,
    Unavailable,
    WaitTimeout,
)
from tests.gateway.conftest import TOKEN
from tests.gateway.fakes import echo, worker
from tests.gateway.served import served, settings_of


async def test_run_gives_back_the_result(client: AsyncClient, broker: Broker) -> None:
    async with worker(broker):
        assert await client.run("catalogue", {"page": 3}, timeout=30) == {"page": 3}
        assert await client.run("catalogue") == {}


async def test_a_job_that_failed_is_raised_with_its_record(client: AsyncClient, broker: Broker) -> None:
    async with worker(broker):
        with pytest.raises(JobFailed, match=r"failed \(exit\): the shop is closed") as raised:
            await client.run("catalogue", {"fail": "the shop is closed"}, timeout=30)
    job = raised.value.job
    assert (job.state, job.cause, job.error) == (State.FAILED, "exit", "the shop is closed")


async def test_a_wait_that_is_over_names_the_job_which_goes_on(client: AsyncClient, broker: Broker) -> None:
    with pytest.raises(WaitTimeout) as raised:
        await client.run("catalogue", {"page": 3}, timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    async with worker(broker):
        job = await client.wait(raised.value.job_id, 30)
    assert json.loads(job.result or "") == {"page": 3}


async def test_the_record_is_the_same_by_both_ways(client: AsyncClient, broker: Broker) -> None:
    job = await client.submit(
        "catalogue",
        {"page": 3},
        queue="default",
        priority=4,
        timeout="1m30s",
        limits={"memory": "64MB"},
        retry=1,
        labels={"a": "b"},
        unique="u",
        key="{params.page}",
        rate="5/s",
        run_at=1.5,
    )
    stored = await broker.get(job.id)
    # what only the store needs does not travel
    assert _public(job) == _nearly(stored)
    assert (job.timeout, job.limits, job.priority) == (90.0, Limits(memory=64 * 1024 * 1024), 4)
    async with worker(broker):
        ended = await client.wait(job.id)
    assert _public(ended) == _nearly(await broker.get(job.id))


def _public(job: Job) -> dict[str, Any]:
    hidden = {"token", "claim_id", "lease_until", "idempotency_key", "body_hash", "revision"}
    return {name: getattr(job, name) for name in job.__struct_fields__ if name not in hidden}


def _nearly(job: Job) -> dict[str, Any]:
    """Times are written to the microsecond."""
    fields = _public(job).items()
    return {
        name: pytest.approx(value, abs=2e-6, rel=0) if isinstance(value, float) else value for name, value in fields
    }


async def test_a_large_result_comes_whole(client: AsyncClient, broker: Broker) -> None:
    text = json.dumps("x" * 1_000_000)
    await broker.put_blob("result/x/1", text.encode())

    def large(_: Job) -> Outcome:
        return Completed(result_blob="result/x/1", result_size=len(text))

    async with worker(broker, large):
        assert len(await client.run("catalogue")) == 1_000_000


async def test_find_get_cancel_retry(client: AsyncClient) -> None:
    jobs = [await client.submit("catalogue", {"n": n}, labels={"n": str(n)}) for n in range(3)]
    page = await client.find(limit=2)
    rest = await client.find(limit=2, cursor=page.cursor)
    assert [job.id for job in page.jobs + rest.jobs] == [job.id for job in reversed(jobs)]
    assert page.totals == {"pending": 3}
    (one,) = (await client.find(labels={"n": "1"}, state="pending", script="catalogue", queue="default")).jobs
    assert one.id == jobs[1].id
    assert (await client.get(one.id[:-1])).id == one.id
    assert (await client.cancel(one.id)).state is State.CANCELLED
    again = await client.retry(one.id)
    assert (again.parent, again.parameter_values) == (one.id, {"n": 1})
    assert [job.id for job in (await client.find(parent=one.id)).jobs] == [again.id]
    last = (await client.get(jobs[2].id)).created_at
    for since in (last, format_time(last)):
        found = [job.id for job in (await client.find(since=since)).jobs]
        assert (jobs[2].id in found, jobs[0].id in found) == (True, False)


async def test_logs_follow_and_end(client: AsyncClient, broker: Broker) -> None:
    job = await client.submit("catalogue")
    (lease,) = await broker.claim("w", ["default"], 1, 2**40, 5.0)
    first = Record(1 << 32 | 1, 1.0, "stdout", b"one\xff\n")
    await broker.append(lease, [first])
    assert [record async for record in client.logs(job.id)] == [first]
    following = client.logs(job.id, follow=True)
    assert await anext(following) == first
    second = Record(1 << 32 | 2, 2.0, "log", b"two")
    await broker.append(lease, [second])
    assert await anext(following) == second
    await broker.settle(lease, Completed())
    assert [record async for record in following] == []
    assert [record async for record in client.logs(job.id, follow=True, after=first.seq)] == [second]


async def test_a_full_log_is_all_that_was_kept(client: AsyncClient, broker: Broker) -> None:
    job = await client.submit("catalogue")
    (lease,) = await broker.claim("w", ["default"], 1, 2**40, 5.0)
    records = [Record(1 << 32 | 1, 1.0, "stdout", b"one\xff\n"), Record(1 << 32 | 2, 1.0, "progress", b'[1,2,""]')]
    await broker.append(lease, [*records, Record(1 << 32 | 3, 1.0, "log", b"three\n")])
    assert await client.full_log(job.id[:-1]) == b"one\xff\nthree\n"
    await broker.put_blob(lease.job.log_key(1), b"one\ntwo\nthree\n")
    assert await client.full_log(job.id) == b"one\ntwo\nthree\n"
    with pytest.raises(JobNotFound):
        await client.full_log("none")


async def test_watch_tells_of_a_job_until_it_has_ended(client: AsyncClient, broker: Broker) -> None:
    job = await client.submit("catalogue")
    events = client.watch(job.id)
    assert (await anext(events)).job.state is State.PENDING
    async with worker(broker):
        states = [event.job.state async for event in events]
    assert states[-1] is State.COMPLETED


async def test_map_keeps_the_order_of_the_parameters(client: AsyncClient, broker: Broker) -> None:
    async with worker(broker):
        results = [result async for result in client.map("catalogue", [{"n": n} for n in range(20)], concurrency=3)]
    assert results == [{"n": n} for n in range(20)]


async def test_map_keeps_no_more_jobs_out_than_it_may(client: AsyncClient, broker: Broker) -> None:
    most = 0

    def count(job: Job) -> Outcome:
        nonlocal most
        return echo(job)

    async with worker(broker, count):
        async for _ in client.map("catalogue", ({"n": n} for n in range(12)), concurrency=2):
            page = await client.find(state=["pending", "running"])
            most = max(most, len(page.jobs))
    assert most <= 2


async def test_map_in_order_of_completion(client: AsyncClient, broker: Broker) -> None:
    results = client.map("catalogue", [{"n": 1}, {"n": 2}], ordered=False)
    coming = asyncio.ensure_future(anext(results))
    leases: dict[int, Any] = {}
    while len(leases) < 2:
        for lease in await broker.claim("w", ["default"], 2, 2**40, 10.0):
            leases[lease.job.parameter_values["n"]] = lease
    await broker.settle(leases[2], Completed(result="2"))
    assert await coming == 2
    await broker.settle(leases[1], Completed(result="1"))
    assert [result async for result in results] == [1]


async def test_map_raises_or_yields_what_failed(client: AsyncClient, broker: Broker) -> None:
    asked = [{"n": 1}, {"fail": "no"}, {"n": 3}]
    async with worker(broker):
        results = [result async for result in client.map("catalogue", asked, return_exceptions=True)]
        assert (results[0], type(results[1]), results[2]) == ({"n": 1}, JobFailed, {"n": 3})
        with pytest.raises(JobFailed):
            _ = [result async for result in client.map("catalogue", asked)]


async def test_map_waits_for_a_full_queue(client: AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    await client.set_queue("default", max_pending=1)
    pauses = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)
        await broker.hint("changes", timeout=0.05)

    monkeypatch.setattr("pumasi.client.asynchronous.asyncio.sleep", no_pause)
    async with worker(broker):
        assert [result async for result in client.map("catalogue", [{"n": n} for n in range(6)])] == [
            {"n": n} for n in range(6)
        ]


async def test_everything_else(client: AsyncClient, broker: Broker) -> None:
    job = await client.submit("catalogue")
    await broker.put_blob(job.artifact_key("a b/c.txt"), b"hello")
    assert await client.artifacts(job.id) == {"a b/c.txt": 5}
    assert await client.artifact(job.id, "a b/c.txt") == b"hello"
    with pytest.raises(ArtifactNotFound):
        await client.artifact(job.id, "none")
    told = Worker(id="w", slots_total=2, queues=("default",), started_at=12.5, stats={"tasks_claimed": 1.0})
    await broker.heartbeat(told, [])
    (shown,) = await client.workers()
    assert (shown.id, shown.slots_total, shown.queues, shown.started_at) == ("w", 2, ("default",), 12.5)
    assert (await client.set_queue("default", paused=True)).paused
    (queue,) = await client.queues()
    assert (queue.paused, queue.pending, queue.max_pending) == (True, 1, None)
    stats = await client.stats()
    assert (stats.jobs, stats.workers[0].stats) == ((("pending", "catalogue", "", 1),), {"tasks_claimed": 1.0})
    assert [script.name for script in await client.scripts()] == ["catalogue"]


async def test_errors_are_of_the_same_class_by_both_ways(client: AsyncClient) -> None:
    with pytest.raises(JobNotFound):
        await client.get("none")
    with pytest.raises(ScriptNotFound, match="catalogue"):
        await client.submit("catalog")
    with pytest.raises(BadFields, match="/priority") as bad:
        await client.submit("catalogue", priority=12, timeout=0)
    assert [field["field"] for field in bad.value.fields] == ["/priority", "/timeout"]
    with pytest.raises(BadFields, match="colour"):
        await client.submit("catalogue", colour="red")
    await client.submit("catalogue", {"n": 1}, unique="u")
    with pytest.raises(Conflict):
        await client.submit("catalogue", {"n": 2}, unique="u")
    with pytest.raises(Conflict):
        await client.retry((await client.submit("catalogue")).id)
    with pytest.raises(Invalid, match="begins the ids of several"):
        await client.get((await client.submit("catalogue")).id[:3])
    for wrong in ({"state": "done"}, {"since": "yesterday"}, {"cursor": "x"}):
        with pytest.raises(Invalid):
            await client.find(**wrong)


@pytest.mark.parametrize("url", ["amqp://localhost"])
def test_a_backend_that_does_not_exist_yet_is_said_so(scripts: Path, url: str) -> None:
    with pytest.raises(Invalid, match="does not exist yet"):
        AsyncClient(url)


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://"])
def test_a_url_that_is_none_is_said_so(scripts: Path, url: str) -> None:
    with pytest.raises(Invalid):
        AsyncClient(url)


async def test_a_wrong_token_is_denied(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    async with served(settings_of(tmp_path), broker) as url:
        for token in ("wrong", None):
            async with AsyncClient(url, token=token) as client:
                with pytest.raises(Denied):
                    await client.submit("catalogue")


async def test_nobody_there_is_unavailable(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumasi.client.backoff.PATIENCE", 0.0)
    async with AsyncClient("http://127.0.0.1:9", token=TOKEN) as client:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
            await client.get("x")


async def test_without_a_url_the_gateway_of_the_data_folder_is_spoken_to(
    tmp_path: Path, scripts: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUMASI_DATA_DIR", str(tmp_path / "data"))
    async with served(settings_of(tmp_path, token=None), broker) as url:
        async with AsyncClient() as client:
            assert client.url == url
            assert (await client.submit("catalogue")).state is State.PENDING
        async with AsyncClient(url) as client:
            assert (await client.find()).totals == {"pending": 1}


async def test_without_a_url_and_a_gateway_the_broker_of_the_settings_is_spoken_to(
    scripts: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUMASI_BROKER", broker.url)
    async with AsyncClient() as client:
        job = await client.submit("catalogue")
    assert (await broker.get(job.id)).script == "catalogue"


async def test_a_wait_survives_a_gateway_that_is_restarted(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    settings = settings_of(tmp_path)
    async with served(settings, broker) as url:
        client = AsyncClient(url, token=TOKEN)
        job = await client.submit("catalogue", {"page": 3})
        waiting = asyncio.create_task(client.wait(job.id, 60))
    port = int(url.rsplit(":", 1)[1])
    async with worker(broker):
        await broker.wait(job.id, 30)
    assert not waiting.done()
    async with served(settings_of(tmp_path, port=port), broker):
        assert json.loads((await waiting).result or "") == {"page": 3}
        await client.close()


async def test_a_stream_survives_a_gateway_that_is_restarted(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    async with served(settings_of(tmp_path), broker) as url:
        client = AsyncClient(url, token=TOKEN)
        job = await client.submit("catalogue")
        (lease,) = await broker.claim("w", ["default"], 1, 2**40, 5.0)
        await broker.append(lease, [Record(1 << 32 | 1, 1.0, "stdout", b"one")])
        following = client.logs(job.id, follow=True)
        assert (await anext(following)).data == b"one"
        rest = asyncio.ensure_future(anext(following))
    await broker.append(lease, [Record(1 << 32 | 2, 1.0, "stdout", b"two")])
    await broker.settle(lease, Failed(cause="exit", error="x"))  # type: ignore[arg-type]
    async with served(settings_of(tmp_path, port=int(url.rsplit(":", 1)[1])), broker):
        assert (await rest).data == b"two"
        assert [record async for record in following] == []
        await client.close()


async def test_a_closed_client_says_so(client: AsyncClient) -> None:
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.find()
