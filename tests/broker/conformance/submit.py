"""Taking jobs in: all or none, once, and for good."""

import asyncio

import pytest
from msgspec.structs import replace

from pumasi.broker.base import Broker
from pumasi.core.bounds import MAX_RECORD
from pumasi.core.job import MAX_PARAMETERS, Cause, Job, KeyLimit, Query, QueueSettings, Retry, State
from pumasi.core.job import Limits as RunLimits
from pumasi.core.outcome import Completed, Released
from pumasi.errors import Conflict, Invalid, JobNotFound, QueueFull
from tests.broker.conformance.base import (
    START,
    Backend,
    Case,
    Clock,
    Connect,
    a_job,
    claims,
    ended,
    ids_of_claim,
    leased,
    needs,
    submitted,
)

WHOLE = Job(
    id="whole",
    script="catalogue",
    version="1.2",
    digest="d" * 64,
    parameters='{"page":3,"이름":"품앗이"}',
    args=("a", "", "ㅎ"),
    queue="pages",
    priority=7,
    run_at=START + 5,
    expires_at=START + 500,
    timeout=1.5,
    limits=RunLimits(memory=1, cpu=2.5, processes=3, open_files=4, disk=5, output=6),
    required_memory=123,
    result_mode="json",
    retry=Retry(max_attempts=4, delay=0.5, factor=3, max_delay=9, on=(Cause.MEMORY,)),
    on_lost="fail",
    limit=KeyLimit(key="k", concurrency=2, count=3, period=4.5),
    unique="u",
    idempotency_key="i",
    body_hash="h",
    labels={"team": "빨강", "empty": ""},
    parent="p",
    external_id="x/1",
)

REFUSED = [
    {"id": ""},
    {"id": "x" * 129},
    {"id": "a/b"},
    {"id": "a\n"},
    {"id": "a\x00b"},
    {"id": "\ud800"},
    {"queue": ""},
    {"queue": "q" * 129},
    {"script": ""},
    {"priority": -1},
    {"priority": 10},
    {"parameters": " " * (MAX_PARAMETERS + 1)},
    {"parameters": "품" * (MAX_PARAMETERS // 3 + 1)},
    {"parameters": '"\ud800"'},
    {"run_at": float("nan")},
    {"run_at": float("inf")},
    {"run_at": -1.0},
    {"expires_at": float("nan")},
    {"timeout": 0.0},
    {"timeout": -1.0},
    {"timeout": float("inf")},
    {"required_memory": -1},
    {"required_memory": 2**63},
    {"limit": KeyLimit(key="")},
    {"limit": KeyLimit(key="k", concurrency=0)},
    {"limit": KeyLimit(key="k", count=0)},
    {"limit": KeyLimit(key="k", count=1, period=0)},
    {"limit": KeyLimit(key="k", count=1, period=float("nan"))},
    {"retry": Retry(max_attempts=0)},
    {"retry": Retry(delay=-1)},
    {"retry": Retry(factor=float("nan"))},
    {"labels": {"a": "x" * MAX_RECORD}},
    {"args": ("x" * MAX_RECORD,)},
    {"unique": "x" * MAX_RECORD},
]


def _refusal(values: dict[str, object]) -> str:
    (name,) = values
    return f"{name}={str(values[name])[:20]!a}"


class Submit(Case):
    async def test_a_submitted_job_waits(self, broker: Broker) -> None:
        job = await submitted(broker, "a")
        assert (job.id, job.state, job.attempt, job.created_at, job.run_at) == ("a", State.PENDING, 0, START, START)
        assert job.change > 0
        assert await broker.get("a") == job

    async def test_the_whole_record_is_kept(self, broker: Broker) -> None:
        (job,) = await broker.submit([WHOLE])
        assert await broker.get("whole") == job
        assert replace(job, created_at=0.0, revision=0, change=0) == WHOLE

    async def test_what_becomes_of_a_job_is_not_the_submitters_to_say(self, broker: Broker) -> None:
        forged = replace(
            a_job("a"), state=State.COMPLETED, attempt=7, token="t", worker="w", lease_until=9e9, deaths=2, result="1",
            ended_at=1.0, cancel_requested=True, created_at=5.0, revision=9, change=9, retries_used=3,
        )  # fmt: skip
        (job,) = await broker.submit([forged])
        assert (job.state, job.attempt, job.token, job.result, job.ended_at) == (State.PENDING, 0, None, None, None)
        assert (job.created_at, job.cancel_requested, job.deaths, job.retries_used) == (START, False, 0, 0)
        assert await ids_of_claim(broker) == ["a"]

    async def test_nothing_to_submit(self, broker: Broker) -> None:
        assert await broker.submit([]) == []

    async def test_an_unknown_job(self, broker: Broker) -> None:
        with pytest.raises(JobNotFound, match="nobody"):
            await broker.get("nobody")

    async def test_a_submitted_job_outlives_every_handle(self, backend: Backend) -> None:
        async with backend.connect() as first:
            job = await submitted(first, "a", labels={"x": "y"})
            lease = (await claims(first))[0]
        async with backend.connect() as second:
            assert replace(await second.get("a"), state=State.PENDING, attempt=0).labels == job.labels
            assert (await second.settle(lease, Completed(result="7"))).result == "7"

    # -- by id ----------------------------------------------------------------------------------------------------

    async def test_a_known_id_is_answered_with_the_stored_record(self, broker: Broker, clock: Clock) -> None:
        first = await submitted(broker, "a", parameters='{"n":1}')
        clock.advance(10)
        assert await submitted(broker, "a", parameters='{"n":2}', script="other", body_hash="other") == first
        await claims(broker)
        assert await submitted(broker, "a") == await broker.get("a")
        assert (await broker.get("a")).state is State.RUNNING

    async def test_one_id_twice_in_a_batch_is_one_job(self, broker: Broker) -> None:
        one, two, three = await broker.submit([a_job("a", script="x"), a_job("b"), a_job("a", script="y")])
        assert one == three
        assert (one.script, two.id) == ("x", "b")
        assert await ids_of_claim(broker, 9) == ["a", "b"]

    async def test_answers_come_in_the_order_asked(self, broker: Broker) -> None:
        await submitted(broker, "b")
        jobs = await broker.submit([a_job("c"), a_job("b"), a_job("a")])
        assert [job.id for job in jobs] == ["c", "b", "a"]
        assert [job.state for job in jobs] == [State.PENDING] * 3

    async def test_parallel_submits_of_one_id_store_one_job(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        jobs = await asyncio.gather(*(submitted(brokers[n % 2], "a", script=f"s{n}") for n in range(10)))
        assert len({job.script for job in jobs}) == 1
        assert len({job.change for job in jobs}) == 1

    # -- by key ---------------------------------------------------------------------------------------------------

    @needs("unique")
    @pytest.mark.parametrize("key", ["unique", "idempotency_key"])
    async def test_the_same_key_with_the_same_request_is_the_same_job(self, broker: Broker, key: str) -> None:
        first = await submitted(broker, "a", body_hash="h", **{key: "k"})
        assert await submitted(broker, "b", body_hash="h", **{key: "k"}) == first
        with pytest.raises(JobNotFound):
            await broker.get("b")

    @needs("unique")
    @pytest.mark.parametrize("key", ["unique", "idempotency_key"])
    async def test_the_same_key_with_another_request_is_a_conflict(self, broker: Broker, key: str) -> None:
        await submitted(broker, "a", body_hash="h", **{key: "k"})
        with pytest.raises(Conflict) as refused:
            await broker.submit([a_job("b"), a_job("c", body_hash="other", **{key: "k"})])
        assert refused.value.details == {"key": "k", "id": "a"}
        assert await ids_of_claim(broker, 9) == ["a"]  # none of the batch was stored

    @needs("unique")
    @pytest.mark.parametrize("key", ["unique", "idempotency_key"])
    async def test_keys_hold_within_a_batch(self, broker: Broker, key: str) -> None:
        one, two = await broker.submit([a_job("a", **{key: "k"}), a_job("b", **{key: "k"})])
        assert one == two
        with pytest.raises(Conflict):
            await broker.submit([a_job("c", **{key: "l"}), a_job("d", body_hash="other", **{key: "l"})])
        assert await ids_of_claim(broker, 9) == ["a"]

    @needs("unique")
    async def test_a_conflict_names_the_key_that_is_taken(self, broker: Broker) -> None:
        await submitted(broker, "a", unique="u")
        with pytest.raises(Conflict) as refused:
            await submitted(broker, "b", unique="u", idempotency_key="i", body_hash="other")
        assert refused.value.details["key"] == "u"

    @needs("unique")
    async def test_a_unique_key_holds_until_the_job_has_ended(self, broker: Broker) -> None:
        lease = await leased(broker, "a", unique="u")
        assert (await submitted(broker, "b", unique="u")).id == "a"
        await broker.settle(lease, Released())
        assert (await submitted(broker, "b", unique="u")).id == "a"
        await broker.cancel("a")
        assert (await submitted(broker, "b", unique="u")).id == "b"

    @needs("unique")
    async def test_an_idempotency_key_holds_as_long_as_the_record(self, broker: Broker, clock: Clock) -> None:
        await ended(broker, "a", idempotency_key="i")
        again = await submitted(broker, "b", idempotency_key="i")
        assert (again.id, again.state) == ("a", State.COMPLETED)
        clock.advance(25 * 3600)
        await broker.sweep()
        assert (await submitted(broker, "b", idempotency_key="i")).id == "b"

    @needs("unique")
    async def test_parallel_submits_of_one_key_store_one_job(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        jobs = await asyncio.gather(*(submitted(brokers[n % 2], unique="u") for n in range(10)))
        assert len({job.id for job in jobs}) == 1

    # -- bounds ---------------------------------------------------------------------------------------------------

    async def test_a_full_queue_refuses_all_of_a_batch(self, connect: Connect) -> None:
        broker = await connect(max_pending=3)
        await broker.submit([a_job("a"), a_job("b")])
        with pytest.raises(QueueFull) as refused:
            await broker.submit([a_job("c"), a_job("d"), a_job("e", queue="other")])
        assert refused.value.retry_after > 0
        assert (refused.value.details["queue"], refused.value.details["limit"]) == ("default", 3)
        await broker.submit([a_job("f"), a_job("g", queue="other")])  # there was room for one
        assert await ids_of_claim(broker, 9, queues=["default", "other"]) == ["a", "b", "f", "g"]

    async def test_jobs_that_are_there_need_no_room(self, connect: Connect) -> None:
        broker = await connect(max_pending=1)
        job = await submitted(broker, "a")
        assert await submitted(broker, "a") == job
        with pytest.raises(QueueFull):
            await broker.submit([a_job("a"), a_job("b")])

    async def test_room_is_made_by_those_who_leave(self, connect: Connect) -> None:
        broker = await connect(max_pending=1)
        lease = await leased(broker, "a")
        await submitted(broker, "b", run_at=START + 100)  # one that is not due takes room too
        with pytest.raises(QueueFull):
            await submitted(broker, "c")
        await broker.cancel("b")
        await submitted(broker, "c")
        await broker.settle(lease, Released())  # what comes back is never refused
        with pytest.raises(QueueFull):
            await submitted(broker, "d")

    @needs("pause")
    async def test_a_queue_may_have_a_bound_of_its_own(self, connect: Connect) -> None:
        broker = await connect(max_pending=1)
        await broker.set_queue("wide", QueueSettings(max_pending=2))
        await broker.set_queue("shut", QueueSettings(max_pending=0))
        await broker.submit([a_job("a", queue="wide"), a_job("b", queue="wide")])
        with pytest.raises(QueueFull, match="shut"):
            await submitted(broker, queue="shut")
        await broker.set_queue("shut", QueueSettings(max_pending=None))
        await submitted(broker, queue="shut")

    @pytest.mark.parametrize("values", REFUSED, ids=_refusal)
    async def test_what_no_broker_may_take_is_refused(self, broker: Broker, values: dict[str, object]) -> None:
        with pytest.raises(Invalid):
            await broker.submit([a_job("good"), replace(a_job(), **values)])
        with pytest.raises(JobNotFound):
            await broker.get("good")

    async def test_the_largest_of_everything_is_taken(self, broker: Broker) -> None:
        text = '{"text":"' + "x" * (MAX_PARAMETERS - 11) + '"}'
        job = await submitted(
            broker, "i" * 128, parameters=text, queue="q" * 128, required_memory=2**63 - 1, args=("x",) * 1000
        )
        assert (await broker.get("i" * 128)).parameters == text
        assert job.required_memory == 2**63 - 1
        (lease,) = await claims(broker, queues=["q" * 128], memory=2**63 - 1)
        assert lease.job.parameters == text

    async def test_a_large_batch(self, broker: Broker) -> None:
        jobs = await broker.submit([a_job(f"j{n:04}", labels={"n": str(n)}) for n in range(1000)])
        assert len({job.change for job in jobs}) == 1000
        assert await ids_of_claim(broker, 3) == ["j0000", "j0001", "j0002"]

    @needs("find")
    async def test_changes_follow_the_order_of_writes(self, broker: Broker) -> None:
        first, second = await broker.submit([a_job("b"), a_job("a")])
        third = await submitted(broker, "c")
        assert first.change < second.change < third.change
        assert await broker.position() == third.change
        page = await broker.find(Query(changed_after=first.change))
        assert [job.id for job in page.jobs] == ["a", "c"]
