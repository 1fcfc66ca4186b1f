"""What a claim leaves in the list, whose entries in the hashes are whose, and entries that nobody would expect."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis

from pumasi.broker import Broker, connect
from pumasi.core.job import Cause, QueueSettings
from pumasi.core.outcome import Completed, Failed
from pumasi.intake.assemble import repeated
from tests.broker.conformance.base import a_job, claims, submitted
from tests.servers.redis import RedisServer
from tests.servers.redis_ways import client

PENDING, PROCESSING, DEAD = "scraping:tasks:pending", "scraping:tasks:processing", "scraping:tasks:dead"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def other(server: RedisServer):
    """Another program."""
    with client(server) as other:
        other.flushall()
        yield other


@pytest.fixture
async def broker(server: RedisServer, other: redis.Redis) -> AsyncIterator[Broker]:
    async with connect(server.url) as broker:
        yield broker


def push(other: redis.Redis, id: str, **request: Any) -> None:
    other.lpush(PENDING, json.dumps({"script_name": "echo", "request_id": id, **request}))


async def asked(broker: Broker, slots: int = 1, **values: Any) -> list[str]:
    """Of what a claim gives: the ids of the callers, or ours."""
    return [lease.job.external_id or lease.id for lease in await claims(broker, slots, **values)]


# -- what a claim leaves ------------------------------------------------------------------------------------------


async def test_a_claim_that_does_not_serve_the_queue_of_the_list_leaves_it(broker: Broker, other: redis.Redis) -> None:
    push(other, "r")
    assert await asked(broker, queues=["shop"]) == []
    assert other.llen(PENDING) == 1


async def test_a_paused_queue_leaves_the_list(broker: Broker, other: redis.Redis) -> None:
    push(other, "r")
    await broker.set_queue("default", QueueSettings(paused=True))
    assert await asked(broker) == []
    assert other.llen(PENDING) == 1


async def test_a_claim_without_memory_leaves_the_list(broker: Broker, other: redis.Redis) -> None:
    push(other, "r")
    assert await asked(broker, memory=1024) == []
    assert other.llen(PENDING) == 1


async def test_no_more_is_taken_than_there_is_room_for(broker: Broker, other: redis.Redis) -> None:
    for n in range(20):
        push(other, f"r{n}")
    assert await asked(broker, 2) == ["r0", "r1"]
    assert other.llen(PENDING) == 18


# -- the order ----------------------------------------------------------------------------------------------------


async def test_recorded_jobs_do_not_keep_the_list_waiting(broker: Broker, other: redis.Redis) -> None:
    await broker.submit([a_job(f"ours{n}") for n in range(9)])
    push(other, "urgent", priority=9)
    assert await asked(broker) == ["urgent"]


async def test_slots_that_recorded_jobs_leave_are_filled_from_the_list(broker: Broker, other: redis.Redis) -> None:
    await submitted(broker, "ours")
    push(other, "r1")
    push(other, "r2")
    assert await asked(broker, 3) == ["ours", "r1", "r2"]


async def test_one_that_is_outranked_is_recorded(broker: Broker, other: redis.Redis) -> None:
    await submitted(broker, "ours", priority=5)
    push(other, "r")
    assert await asked(broker) == ["ours"]
    assert (other.llen(PENDING), (await broker.queues())[0].pending) == (0, 1)
    assert await asked(broker) == ["r"]


# -- entries that nobody would expect -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        f'"priority": 1{"0" * 400}',
        f'"timeout": 1{"0" * 400}',
        f'"run_at": 1{"0" * 400}',
        '"run_at": "0001-01-01T00:00:00"',
        '"run_at": "0001-01-01T00:00:00+14:00"',
        '"request_id": "\\ud800"',
        f'"request_id": "{"x" * 200}"',
        '"script_name": "b"',
        f'"parameters": {"[" * 5000}{"]" * 5000}',
        '"parameters": {"a": NaN}',
        '"queue": "\\u0000"',
        '"max_attempts": 0',
    ],
)
async def test_an_entry_that_cannot_be_had_does_not_stop_others(
    broker: Broker, other: redis.Redis, fields: str
) -> None:
    other.lpush(PENDING, f'{{"script_name": "a", {fields}}}')
    push(other, "good")
    assert await asked(broker, 2) == ["good"]
    assert (other.llen(PENDING), other.llen(DEAD)) == (0, 1)


async def test_numbers_travel_as_they_are(broker: Broker, other: redis.Redis) -> None:
    large = 123456789012345678901234567890
    push(other, "r", parameters={"n": large})
    (lease,) = await claims(broker)
    assert lease.job.parameter_values == {"n": large}
    await broker.settle(lease, Completed(result=str(large)))
    assert json.loads(other.hget("scraping:tasks:completed", "r"))["data"] == large


# -- whose is whose -----------------------------------------------------------------------------------------------


async def test_a_job_that_another_face_has_named_is_not_told_here(broker: Broker, other: redis.Redis) -> None:
    await submitted(broker, "ours", external_id="of-another-face")
    (lease,) = await claims(broker)
    assert not other.exists(PROCESSING)
    await broker.settle(lease, Completed(result="1"))
    assert not other.exists("scraping:tasks:completed")


async def test_a_job_that_was_retried_by_hand_is_not_told_here(broker: Broker, other: redis.Redis) -> None:
    push(other, "r")
    (lease,) = await claims(broker)
    failed = await broker.settle(lease, Failed(cause=Cause.EXIT, error="boom", retryable=False))
    await broker.submit([repeated(failed, id="again")])
    (lease,) = await claims(broker)
    await broker.settle(lease, Completed(result="1"))
    assert json.loads(other.hget("scraping:tasks:failed", "r"))["error"] == "boom"
    assert not other.exists("scraping:tasks:completed")


async def test_what_others_have_written_under_a_request_id_stays(server: RedisServer, other: redis.Redis) -> None:
    async with connect(f"{server.url}?retention=0") as broker:
        other.hset("scraping:tasks:failed", "r", "theirs")
        push(other, "r")
        (lease,) = await claims(broker)
        other.hset(PROCESSING, "r", "theirs")
        await broker.settle(lease, Completed(result="1"))
        other.hset("scraping:tasks:completed", "r", "theirs")
        await broker.sweep()
        for hash in (PROCESSING, "scraping:tasks:completed", "scraping:tasks:failed"):
            assert other.hget(hash, "r") == "theirs"


async def test_with_an_equal_request_id_each_is_shown_until_it_has_ended(broker: Broker, other: redis.Redis) -> None:
    push(other, "same")
    push(other, "same")
    (one,) = await claims(broker, worker="w1")
    (two,) = await claims(broker, worker="w2")
    await broker.settle(one, Completed(result="1"))
    assert json.loads(other.hget(PROCESSING, "same"))["worker_id"] == "w2"
    await broker.settle(two, Completed(result="2"))
    assert not other.exists(PROCESSING)
    assert json.loads(other.hget("scraping:tasks:completed", "same"))["data"] == 2


async def test_a_large_result_that_is_kept_outside_travels_whole(
    server: RedisServer, other: redis.Redis, tmp_path: Path
) -> None:
    async with connect(server.url, blobs=f"file://{tmp_path}") as broker:
        push(other, "r")
        (lease,) = await claims(broker)
        data = json.dumps("x" * 300_000)
        key = f"result/{lease.id}/1"
        await broker.put_blob(key, data.encode())
        await broker.settle(lease, Completed(result_blob=key, result_size=len(data)))
    assert len(json.loads(other.hget("scraping:tasks:completed", "r"))["data"]) == 300_000


async def test_one_that_a_later_entry_outranks_is_recorded_and_those_behind_stay(
    broker: Broker, other: redis.Redis
) -> None:
    push(other, "usual")
    push(other, "urgent", priority=9)
    push(other, "last")
    assert await asked(broker) == ["urgent"]
    assert (other.llen(PENDING), (await broker.queues())[0].pending) == (1, 1)
    assert await asked(broker, 2) == ["usual", "last"]


async def test_a_claim_goes_past_many_that_cannot_run_yet(broker: Broker, other: redis.Redis) -> None:
    for n in range(30):
        push(other, f"later{n}", run_at="2100-01-01T00:00:00")
    push(other, "now")
    assert await asked(broker) == ["now"]
