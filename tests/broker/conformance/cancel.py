"""Cancelling: at once when it waits, by a flag when it runs, not at all when it has ended."""

import asyncio

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Retry, State
from pumasi.core.outcome import Cancelled, Completed, Failed, Released
from pumasi.errors import JobNotFound
from tests.broker.conformance.base import START, Case, Clock, Connect, a_job, claims, ended, leased, submitted


class Cancel(Case):
    async def test_a_waiting_job_ends_at_once(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a"), a_job("b")])
        clock.advance(1)
        job = await broker.cancel("a")
        assert (job.state, job.cause, job.ended_at) == (State.CANCELLED, Cause.CANCELLED, START + 1)
        assert (job.error or "").startswith("cancelled")
        assert await broker.get("a") == job
        assert [lease.id for lease in await claims(broker, 9)] == ["b"]

    async def test_a_job_that_is_not_due_yet(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a", run_at=START + 10)
        assert (await broker.cancel("a")).state is State.CANCELLED
        clock.advance(10)
        assert await claims(broker) == []

    async def test_a_running_job_is_flagged(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        job = await broker.cancel("a")
        assert (job.state, job.cancel_requested, job.token) == (State.RUNNING, True, lease.token)
        assert await broker.cancel("a") == job
        assert await broker.get("a") == job

    async def test_a_run_that_completes_first_stays_completed(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.cancel("a")
        job = await broker.settle(lease, Completed(result="1"))
        assert (job.state, job.result) == (State.COMPLETED, "1")

    @pytest.mark.parametrize(
        "outcome", [Cancelled(), Failed(cause=Cause.SIGNAL, error="killed"), Released()], ids=lambda o: type(o).__name__
    )
    async def test_any_other_end_of_a_cancelled_run_is_cancelled(
        self, broker: Broker, outcome: Cancelled | Failed | Released
    ) -> None:
        lease = await leased(broker, "a", retry=Retry(max_attempts=9))
        await broker.cancel("a")
        job = await broker.settle(lease, outcome)
        assert (job.state, job.cause) == (State.CANCELLED, Cause.CANCELLED)

    async def test_a_retry_that_waits_ends_at_once(self, broker: Broker) -> None:
        lease = await leased(broker, "a", retry=Retry(max_attempts=2, delay=100))
        await broker.settle(lease, Failed(cause=Cause.EXIT, error="exit code 1"))
        assert (await broker.cancel("a")).state is State.CANCELLED

    async def test_an_ended_job_is_unchanged(self, broker: Broker) -> None:
        job = await ended(broker, "a")
        assert await broker.cancel("a") == job
        assert await broker.get("a") == job

    async def test_an_unknown_job(self, broker: Broker) -> None:
        with pytest.raises(JobNotFound):
            await broker.cancel("nobody")

    async def test_cancel_racing_completion_has_one_ending(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        for n in range(12):
            lease = await leased(here, f"j{n}")
            cancelled, settled = await asyncio.gather(
                there.cancel(lease.id), here.settle(lease, Failed(cause=Cause.EXIT, error="exit code 1"))
            )
            stored = await here.get(lease.id)
            assert stored == settled
            assert stored.state in (State.FAILED, State.CANCELLED)
            # whoever cancelled first is obeyed; who came too late is shown the ending
            assert (stored.state is State.CANCELLED) == (cancelled.state is State.RUNNING)

    async def test_cancel_racing_claim_has_one_ending(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        for n in range(12):
            await submitted(here, f"j{n}")
            cancelled, leases = await asyncio.gather(there.cancel(f"j{n}"), claims(here))
            assert (cancelled.state is State.CANCELLED) == (not leases)
            for lease in leases:
                assert (await here.settle(lease, Cancelled())).state is State.CANCELLED

    async def test_the_worker_may_learn_by_a_hint(self, connect: Connect) -> None:
        """Where there is a bell it is heard at once; where there is none, nothing comes and the heartbeat tells."""
        here, there = await connect(), await connect()
        await leased(here, "a")
        await leased(here, "b", queue="other")
        stops = here.stops("w1")
        hint = asyncio.ensure_future(anext(stops))
        await asyncio.wait([hint], timeout=0.05)
        await there.cancel("a")
        done, _ = await asyncio.wait([hint], timeout=2)
        assert {task.result() for task in done} <= {"a"}
        hint.cancel()
        await asyncio.wait([hint])
        await stops.aclose()
