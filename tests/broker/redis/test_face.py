"""What other programs push into a list is run, and what they read says what became of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from pumasi.broker import Broker, connect
from pumasi.core.job import Cause, Query, State, Worker
from pumasi.core.outcome import Completed, Failed
from tests.broker.conformance.base import claims
from tests.harness import System
from tests.servers.redis import RedisServer

PENDING, PROCESSING, DEAD = "scraping:tasks:pending", "scraping:tasks:processing", "scraping:tasks:dead"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def other(server: RedisServer):
    """Another program, which knows commands of Redis and nothing else."""
    client = redis.Redis(port=server.port, decode_responses=True)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def broker(server: RedisServer, other: redis.Redis) -> AsyncIterator[Broker]:
    async with connect(server.url) as broker:
        yield broker


def push(other: redis.Redis, **request: Any) -> None:
    other.lpush(PENDING, json.dumps({"script_name": "echo", **request}))


def told(other: redis.Redis, status: str, id: str) -> dict[str, Any]:
    return json.loads(other.hget(f"scraping:tasks:{status}", id))


async def test_one_command_submits(server: RedisServer, other: redis.Redis, tmp_path: Path) -> None:
    """The whole way, by a worker and nothing else."""
    system = System(tmp_path, server.url)
    system.script("echo.py", "def main(page): return {'page': page}")
    async with system.open(), system.working():
        push(other, request_id="r1", parameters={"page": 3}, status="whatever", unknown=1)
        async with asyncio.timeout(20):
            while not other.hexists("scraping:tasks:completed", "r1"):
                await asyncio.sleep(0.02)
        worker = json.loads(next(iter(other.hgetall("scraping:workers").values())))
    reply = told(other, "completed", "r1")
    assert reply | {"execution_time": 0, "completed_at": ""} == {
        "request_id": "r1", "status": "completed", "data": {"page": 3}, "error": None, "execution_time": 0,
        "completed_at": "",
    }  # fmt: skip
    assert 0 <= reply["execution_time"] < 20
    assert abs((datetime.now() - datetime.fromisoformat(reply["completed_at"])).total_seconds()) < 20  # noqa: DTZ005
    assert not other.hexists(PROCESSING, "r1")
    assert other.llen(PENDING) == 0
    assert (worker["status"], set(worker)) == (
        "active", {"worker_id", "registered_at", "last_heartbeat", "status", "tasks_processed"},
    )  # fmt: skip


async def test_it_is_shown_while_it_runs_and_between_attempts(broker: Broker, other: redis.Redis) -> None:
    push(other, request_id="r1", parameters={"a": 1}, max_attempts=2, mine="kept")
    (lease,) = await claims(broker, worker="w1")
    shown = json.loads(other.hget(PROCESSING, "r1"))
    assert shown | {"started_at": ""} == {
        "request_id": "r1", "script_name": "echo", "parameters": {"a": 1}, "max_attempts": 2, "mine": "kept",
        "status": "running", "worker_id": "w1", "started_at": "",
    }  # fmt: skip
    datetime.fromisoformat(shown["started_at"])
    await broker.settle(lease, Failed(cause=Cause.EXIT, error="boom"))
    between = json.loads(other.hget(PROCESSING, "r1"))
    assert (between["status"], between["worker_id"], between["mine"]) == ("pending", None, "kept")
    (lease,) = await claims(broker, worker="w2", wait=20)
    await broker.settle(lease, Failed(cause=Cause.EXIT, error="boom", retryable=False))
    reply = told(other, "failed", "r1")
    assert (reply["status"], reply["data"], reply["error"]) == ("failed", None, "boom")
    assert not other.hexists(PROCESSING, "r1")


async def test_what_is_left_out(broker: Broker, other: redis.Redis) -> None:
    push(other)
    (lease,) = await claims(broker)
    job = lease.job
    assert (job.parameters, job.timeout, job.retry.max_attempts, job.priority, job.version, job.digest) == (
        "{}", None, 1, 0, None, None,
    )  # fmt: skip
    assert job.external_id
    assert job.external_id != job.id


async def test_the_oldest_comes_first_and_no_more_than_there_is_room_for(broker: Broker, other: redis.Redis) -> None:
    for n in range(30):
        push(other, request_id=f"r{n}")
    first = await claims(broker, 2)
    assert [lease.job.external_id for lease in first] == ["r0", "r1"]
    assert other.llen(PENDING) >= 18  # what no claim has looked at stays readable
    found = [lease.job.external_id for _ in range(14) for lease in await claims(broker, 2)]
    assert found == [f"r{n}" for n in range(2, 30)]


async def test_what_cannot_run_now_is_recorded_and_what_can_comes_out(broker: Broker, other: redis.Redis) -> None:
    push(other, request_id="later", run_at="2100-01-01T00:00:00")
    push(other, request_id="elsewhere", queue="reports")
    push(other, request_id="usual")
    push(other, request_id="urgent", priority=9)
    (lease,) = await claims(broker)
    assert lease.job.external_id == "urgent"
    (lease,) = await claims(broker)
    assert lease.job.external_id == "usual"
    assert await claims(broker) == []
    (lease,) = await claims(broker, queues=["reports"])
    assert lease.job.external_id == "elsewhere"
    waiting = await broker.find(Query(states=(State.PENDING,)))
    assert [job.external_id for job in waiting.jobs] == ["later"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\xff\xfe", "no JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"request_id": "x"}', "names no script"),
        (b'{"script_name": "a", "parameters": [1]}', "parameters are a JSON object"),
        (b'{"script_name": "a", "timeout": "soon"}', "timeout is a number"),
        (b'{"script_name": "../../etc/passwd"}', "never a path"),
        (b'{"script_name": "a", "request_id": 7}', "request_id is a text"),
        (b'{"script_name": "a", "run_at": "tomorrow"}', "run_at is a time"),
    ],
)
async def test_what_cannot_be_read_is_kept(broker: Broker, other: redis.Redis, raw: bytes, why: str) -> None:
    other.lpush(PENDING, raw)
    push(other, request_id="good")
    (lease,) = await claims(broker)
    assert lease.job.external_id == "good"
    (kept,) = [json.loads(entry) for entry in other.lrange(DEAD, 0, -1)]
    assert why in kept["reason"]
    assert kept["raw"] == raw.decode("utf-8", "replace")
    datetime.fromisoformat(kept["at"])


async def test_a_waiting_claim_hears_of_a_push(broker: Broker, other: redis.Redis) -> None:
    waiting = asyncio.create_task(claims(broker, wait=60))
    await asyncio.sleep(0.2)
    push(other, request_id="r")
    (lease,) = await asyncio.wait_for(waiting, 10)
    assert lease.job.external_id == "r"


async def test_two_workers_never_get_the_same_entry(server: RedisServer, broker: Broker, other: redis.Redis) -> None:
    for n in range(200):
        push(other, request_id=f"r{n}")

    async def work(broker: Broker, name: str) -> list[str]:
        found = []
        while leases := await claims(broker, 3, worker=name):
            found += [lease.job.external_id or "" for lease in leases]
        return found

    async with connect(server.url) as second:
        found = await asyncio.gather(*(work(b, f"w{n}") for n, b in enumerate([broker, second, broker, second])))
    assert sorted(id for ids in found for id in ids) == sorted(f"r{n}" for n in range(200))


async def test_a_cancelled_job_has_failed(broker: Broker, other: redis.Redis) -> None:
    push(other, request_id="r", run_at=4e9)
    assert await claims(broker) == []
    (job,) = (await broker.find(Query())).jobs
    await broker.cancel(job.id)
    assert told(other, "failed", "r")["error"].startswith("cancelled")


async def test_with_an_equal_request_id_the_later_ending_stands(broker: Broker, other: redis.Redis) -> None:
    push(other, request_id="same")
    push(other, request_id="same")
    one, two = await claims(broker, 2)
    await broker.settle(two, Completed(result="2"))
    await broker.settle(one, Failed(cause=Cause.EXIT, error="x", retryable=False))
    assert told(other, "failed", "same")["error"] == "x"
    assert not other.hexists("scraping:tasks:completed", "same")


async def test_a_large_result_travels_whole_up_to_the_limit(broker: Broker, other: redis.Redis) -> None:
    for id, size in (("large", 1 << 20), ("huge", 9 << 20)):
        push(other, request_id=id)
        (lease,) = await claims(broker)
        key = f"result/{lease.id}/1"
        data = json.dumps("x" * size).encode()
        await broker.put_blob(key, data)
        await broker.settle(lease, Completed(result_blob=key, result_size=len(data)))
    assert len(told(other, "completed", "large")["data"]) == 1 << 20
    reply = told(other, "failed", "huge")
    assert reply["error"].startswith("output: ")
    assert str(len(data)) in reply["error"]


async def test_only_what_came_this_way_is_told_here(broker: Broker, other: redis.Redis) -> None:
    other.hset("scraping:tasks:completed", "theirs", "1")
    from tests.broker.conformance.base import ended

    await ended(broker, "ours")
    push(other, request_id="r")
    (lease,) = await claims(broker)
    await broker.settle(lease, Completed(result="1"))
    assert set(other.hgetall("scraping:tasks:completed")) == {"theirs", "r"}


async def test_it_goes_with_the_record_and_what_is_of_others_stays(server: RedisServer, other: redis.Redis) -> None:
    async with connect(f"{server.url}?retention=0") as broker:
        other.hset("scraping:tasks:completed", "theirs", "1")
        push(other, request_id="r")
        (lease,) = await claims(broker)
        await broker.settle(lease, Completed(result="1"))
        await broker.sweep()
        assert set(other.hgetall("scraping:tasks:completed")) == {"theirs"}


async def test_a_worker_that_stops_is_inactive(broker: Broker, other: redis.Redis) -> None:
    other.hset("scraping:workers", "theirs", "1")
    await broker.heartbeat(Worker(id="w", stats={"tasks_completed": 2, "tasks_failed": 1}), [])
    shown = json.loads(other.hget("scraping:workers", "w"))
    assert (shown["status"], shown["tasks_processed"]) == ("active", 3)
    await broker.heartbeat(Worker(id="w", status="stopped"), [])
    assert json.loads(other.hget("scraping:workers", "w"))["status"] == "inactive"
    assert other.hget("scraping:workers", "theirs") == "1"


async def test_another_prefix_has_no_face_unless_it_is_named(server: RedisServer, other: redis.Redis) -> None:
    push(other, request_id="r")
    async with connect(f"{server.url}?prefix=other") as broker:
        assert await claims(broker) == []
    async with connect(f"{server.url}?prefix=other&face=scraping") as broker:
        assert len(await claims(broker)) == 1
