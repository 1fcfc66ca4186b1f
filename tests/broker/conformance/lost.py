"""Runs whose worker died or fell silent."""

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Held, Lease, State, Worker
from pumasi.core.outcome import Completed
from tests.broker.conformance.base import MIB, START, Case, Clock, a_job, claims, ids_of_claim, leased, needs, submitted


async def started(broker: Broker, lease: Lease) -> Lease:
    """The run has begun."""
    await broker.heartbeat(Worker(id="w1"), [Held(lease.id, lease.token, started=True)])
    return lease


class Lost(Case):
    async def test_a_lost_run_is_claimable_again_at_once(self, broker: Broker, clock: Clock) -> None:
        first = await leased(broker, "a")
        clock.advance(29.9)
        assert await claims(broker) == []
        clock.advance(0.1)
        (second,) = await claims(broker, worker="w2")
        assert (second.id, second.job.attempt, second.job.worker) == ("a", 2, "w2")
        assert second.token != first.token
        assert (second.job.deaths, second.job.retries_used, second.job.started_at) == (0, 0, None)

    async def test_a_lost_run_has_its_place_in_the_order(self, broker: Broker, clock: Clock) -> None:
        await leased(broker, "a", priority=3)
        clock.advance(30)
        await broker.submit([a_job("low"), a_job("high", priority=9)])
        assert await ids_of_claim(broker, 1) == ["high"]
        assert await ids_of_claim(broker, 9) == ["a", "low"]

    async def test_many_lost_runs_at_once(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(f"j{n:02}") for n in range(40)])
        assert len(await claims(broker, 40)) == 40
        clock.advance(30)
        assert await ids_of_claim(broker, 3) == ["j00", "j01", "j02"]
        assert len(await claims(broker, 99)) == 37

    async def test_a_death_counts_once_the_run_was_started(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a")
        for deaths in (0, 1, 2):
            (lease,) = await claims(broker)
            assert lease.job.deaths == deaths
            await started(broker, lease)
            clock.advance(30)
        assert await claims(broker) == []
        job = await broker.get("a")
        assert (job.state, job.cause, job.deaths, job.attempt) == (State.FAILED, Cause.LOST, 3, 3)
        assert job.ended_at == clock.now

    async def test_runs_that_never_started_are_tried_for_ever(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a")
        for attempt in range(1, 8):
            (lease,) = await claims(broker)
            assert (lease.job.attempt, lease.job.deaths) == (attempt, 0)
            clock.advance(30)

    async def test_on_lost_fail_ends_at_the_first_death(self, broker: Broker, clock: Clock) -> None:
        await started(broker, await leased(broker, "a", on_lost="fail"))
        clock.advance(30)
        assert await claims(broker) == []
        job = await broker.get("a")
        assert (job.state, job.cause, job.attempt) == (State.FAILED, Cause.LOST, 1)

    async def test_on_lost_fail_is_tried_again_when_it_never_started(self, broker: Broker, clock: Clock) -> None:
        await leased(broker, "a", on_lost="fail")
        clock.advance(30)
        assert await ids_of_claim(broker) == ["a"]

    async def test_cancelled_while_its_worker_was_lost(self, broker: Broker, clock: Clock) -> None:
        await started(broker, await leased(broker, "a"))
        await broker.cancel("a")
        clock.advance(30)
        assert await claims(broker) == []
        assert (await broker.get("a")).state is State.CANCELLED

    @needs("memory")
    async def test_a_lost_run_is_left_to_a_worker_with_room(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a", required_memory=500 * MIB)
        clock.advance(30)
        assert await claims(broker, memory=100 * MIB) == []
        assert await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token)]) == []  # its owner was only late
        clock.advance(30)
        assert await ids_of_claim(broker, memory=500 * MIB) == ["a"]

    @pytest.mark.parametrize("how", ["claim", "sweep"])
    async def test_the_late_owner_learns_it(self, broker: Broker, clock: Clock, how: str) -> None:
        lease = await started(broker, await leased(broker, "a", on_lost="fail"))
        clock.advance(30)
        await (claims(broker) if how == "claim" else broker.sweep())
        stored = await broker.get("a")
        assert stored.state is State.FAILED
        (stop,) = await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token)])
        assert stop.reason == "lost"
        # the ending stands; its own run's late settle is answered with it, as any repeated one
        assert await broker.settle(lease, Completed(result="1")) == stored
        assert stored.created_at == START
