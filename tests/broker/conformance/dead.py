"""Dead letters: what has failed for good, until somebody has looked after it."""

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Query, Retry, State
from pumasi.core.outcome import Cancelled, Failed
from pumasi.errors import JobNotFound
from tests.broker.conformance.base import Case, Clock, a_job, ended, leased, needs, submitted

FAILED = Failed(cause=Cause.EXIT, error="exit code 1")


class Dead(Case):
    @needs("find")
    async def test_what_has_failed_for_good_is_a_dead_letter(self, broker: Broker, clock: Clock) -> None:
        await ended(broker, "a", FAILED)
        await ended(broker, "completed")
        await ended(broker, "cancelled", Cancelled())
        await ended(broker, "again", FAILED, retry=Retry(max_attempts=2))
        await submitted(broker, "expired", expires_at=clock.now + 1)
        clock.advance(2)
        await broker.sweep()
        page = await broker.find(Query(dead=True))
        assert {job.id for job in page.jobs} == {"a", "expired"}
        assert page.totals == {"failed": 2}

    @needs("find")
    async def test_one_looked_after_is_one_no_more(self, broker: Broker) -> None:
        for id in "abc":
            await ended(broker, id, FAILED)
        before = await broker.get("a")
        after = await broker.resolve("a", "requeued")
        await broker.resolve("b", "discarded")
        assert [job.id for job in (await broker.find(Query(dead=True))).jobs] == ["c"]
        assert (after.state, after.cause, after.error, after.ended_at) == (
            before.state, before.cause, before.error, before.ended_at,
        )  # fmt: skip
        assert (after.resolved, (await broker.get("b")).resolved) == ("requeued", "discarded")
        assert (await broker.find(Query(states=(State.FAILED,)))).totals == {"failed": 3}

    async def test_only_a_dead_letter_can_be_resolved(self, broker: Broker) -> None:
        lease = await leased(broker, "running")
        for job in (await submitted(broker, "pending"), lease.job):
            assert await broker.resolve(job.id, "discarded") == job
        await broker.settle(lease, FAILED)
        assert await broker.resolve("running", "discarded") == await broker.resolve("running", "requeued")
        assert (await broker.get("running")).resolved == "discarded"
        with pytest.raises(JobNotFound):
            await broker.resolve("none", "requeued")

    @needs("find")
    async def test_dead_letters_by_queue_script_and_page(self, broker: Broker, clock: Clock) -> None:
        for n in range(5):
            await ended(broker, f"{n}", FAILED, queue=f"q{n % 2}", script=f"s{n % 3}", labels={"n": f"{n % 2}"})
            clock.advance(1)
        await broker.resolve("4", "discarded")
        assert [job.id for job in (await broker.find(Query(dead=True, queue="q0"))).jobs] == ["2", "0"]
        assert [job.id for job in (await broker.find(Query(dead=True, script="s0"))).jobs] == ["3", "0"]
        assert [job.id for job in (await broker.find(Query(dead=True, labels={"n": "1"}))).jobs] == ["3", "1"]
        page = await broker.find(Query(dead=True, limit=3))
        assert [job.id for job in page.jobs] == ["3", "2", "1"]
        page = await broker.find(Query(dead=True, limit=3, cursor=page.cursor))
        assert [job.id for job in page.jobs] == ["0"]

    @needs("find")
    async def test_a_change_of_a_dead_letter_is_news(self, broker: Broker) -> None:
        job = await ended(broker, "a", FAILED)
        after = await broker.resolve("a", "discarded")
        assert after.change > job.change
        assert (await broker.find(Query(dead=True, changed_after=0))).jobs == ()

    @needs("find")
    async def test_it_frees_its_keys_as_any_ending_does(self, broker: Broker) -> None:
        await ended(broker, "a", FAILED, unique="u")
        (job,) = await broker.submit([a_job("b", unique="u")])
        assert job.id == "b"
