"""Records of another broker, taken in as they stand."""

import pytest
from msgspec.structs import replace

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Job, Query, Record, State
from pumasi.core.outcome import Failed
from pumasi.errors import Conflict, Invalid, JobNotFound
from tests.broker.conformance.base import START, Case, Clock, Connect, a_job, ids_of_claim, leased, needs, submitted

PENDING = Job(id="p", script="s", queue="q", priority=3, created_at=START - 9, run_at=START - 5, attempt=2, error="e")
ENDED = Job(
    id="e", script="s", state=State.COMPLETED, attempt=1, created_at=START - 50, run_at=START - 50,
    claimed_at=START - 40, started_at=START - 40, ended_at=START - 30, result="[1]", result_size=3, labels={"a": "b"},
    token="t", worker="w", isolation="full", phases={"run": 1.5},
)  # fmt: skip
LOG = [Record((1 << 32) + n, START - 35 + n, "stdout", f"line {n}\n".encode()) for n in range(3)]


def as_kept(job: Job) -> Job:
    """What a store adds aside."""
    return replace(job, revision=0, change=0)


class Adopt(Case):
    @needs("find", "log")
    async def test_records_are_kept_as_they_stand(self, broker: Broker) -> None:
        assert await broker.adopt([(PENDING, []), (ENDED, LOG)]) == 2
        assert as_kept(await broker.get("p")) == PENDING
        assert as_kept(await broker.get("e")) == ENDED
        assert await broker.read("e") == LOG
        assert await broker.read("p") == []
        page = await broker.find(Query())
        assert [job.id for job in page.jobs] == ["p", "e"]
        assert page.totals == {"pending": 1, "completed": 1}
        assert (await broker.stats()).jobs == (("completed", "s", "", 1), ("pending", "s", "", 1))
        assert [job.id for job in (await broker.find(Query(labels={"a": "b"}))).jobs] == ["e"]

    @needs("find", "log")
    async def test_it_is_safe_to_repeat(self, broker: Broker) -> None:
        await broker.adopt([(ENDED, LOG)])
        before = await broker.get("e")
        assert await broker.adopt([(replace(ENDED, result="2"), LOG[:1]), (PENDING, [])]) == 1
        assert await broker.get("e") == before
        assert await broker.read("e") == LOG
        assert await broker.adopt([]) == 0

    @needs("find")
    async def test_what_waits_can_be_had(self, broker: Broker) -> None:
        await submitted(broker, "mine", queue="q")
        await broker.adopt([(PENDING, [])])
        assert await ids_of_claim(broker, 9, queues=["q"]) == ["p", "mine"]
        assert (await broker.get("p")).attempt == 3

    @needs("find")
    async def test_what_has_ended_goes_when_its_time_has_come(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(retention=100)
        await broker.adopt([(ENDED, []), (replace(ENDED, id="older", ended_at=START - 101), [])])
        await broker.sweep()
        with pytest.raises(JobNotFound):
            await broker.get("older")
        assert (await broker.get("e")).ended

    @needs("find", "unique")
    async def test_keys_are_held(self, broker: Broker) -> None:
        await broker.adopt([(replace(PENDING, unique="u", body_hash="h"), [])])
        await broker.adopt([(replace(ENDED, idempotency_key="i", unique="u", body_hash="h"), [])])
        (job,) = await broker.submit([a_job("x", unique="u", body_hash="h")])
        assert job.id == "p"
        (job,) = await broker.submit([a_job("y", idempotency_key="i", body_hash="h")])
        assert job.id == "e"

    @needs("find", "unique")
    async def test_a_key_held_by_another_is_a_conflict(self, broker: Broker) -> None:
        await submitted(broker, "mine", unique="u", body_hash="h")
        with pytest.raises(Conflict):
            await broker.adopt([(ENDED, []), (replace(PENDING, unique="u", body_hash="h"), [])])
        with pytest.raises(JobNotFound):
            await broker.get("e")

    @needs("find")
    async def test_what_runs_stays_where_it_is(self, broker: Broker) -> None:
        lease = await leased(broker, "r")
        with pytest.raises(Invalid):
            await broker.adopt([(replace(lease.job, id="other"), [])])

    @needs("find")
    async def test_a_dead_letter_stays_one(self, broker: Broker) -> None:
        failed = replace(ENDED, state=State.FAILED, cause=Cause.EXIT, result=None, result_size=0)
        await broker.adopt([(failed, []), (replace(failed, id="done", resolved="discarded"), [])])
        assert [job.id for job in (await broker.find(Query(dead=True))).jobs] == ["e"]

    @needs("find")
    async def test_the_rest_of_its_life_is_as_any_other(self, broker: Broker) -> None:
        await broker.adopt([(PENDING, [])])
        (lease,) = await broker.claim("w", ["q"], 1, 1 << 50, 0)
        ended = await broker.settle(lease, Failed(cause=Cause.EXIT, error="x"))
        assert (ended.state, ended.attempt) == (State.FAILED, 3)
