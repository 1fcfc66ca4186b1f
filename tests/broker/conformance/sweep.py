"""Sweeping: ending what nobody will claim, forgetting what is old."""

import asyncio

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Held, Record, State, Worker
from pumasi.core.outcome import Completed
from pumasi.errors import JobNotFound
from tests.broker.conformance.base import (
    START,
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


async def started(broker: Broker, id: str, **values: object) -> None:
    """A run that has begun."""
    lease = await leased(broker, id, **values)
    await broker.heartbeat(Worker(id="w1"), [Held(id, lease.token, started=True)])


class Sweep(Case):
    async def test_nothing_to_do(self, broker: Broker) -> None:
        await broker.submit([a_job("a"), a_job("b", run_at=START + 100)])
        before = [await broker.get("a"), await broker.get("b")]
        assert await broker.sweep() == 0
        assert [await broker.get("a"), await broker.get("b")] == before

    async def test_expired_jobs_end(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a", expires_at=START + 5), a_job("b", expires_at=START + 50), a_job("c")])
        lease = await leased(broker, "d", expires_at=START + 5, priority=9)  # once started it does not expire
        clock.advance(5)
        assert await broker.sweep() == 1
        job = await broker.get("a")
        assert (job.state, job.cause, job.ended_at) == (State.FAILED, Cause.EXPIRED, START + 5)
        assert (await broker.settle(lease, Completed(result="1"))).state is State.COMPLETED
        assert await ids_of_claim(broker, 9) == ["b", "c"]

    async def test_lost_runs_that_will_not_run_again_end(self, broker: Broker, clock: Clock) -> None:
        await started(broker, "fails", on_lost="fail")
        await started(broker, "cancelled")
        await broker.cancel("cancelled")
        await started(broker, "again")
        clock.advance(29)
        assert await broker.sweep() == 0
        clock.advance(1)
        assert await broker.sweep() == 2
        causes = {id: (await broker.get(id)).cause for id in ("fails", "cancelled", "again")}
        assert causes == {"fails": Cause.LOST, "cancelled": Cause.CANCELLED, "again": None}

    async def test_the_third_death_ends_without_a_claim(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a")
        for _ in range(3):
            (lease,) = await claims(broker)
            await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
            clock.advance(30)
        assert await broker.sweep() == 1
        assert (await broker.get("a")).cause is Cause.LOST

    async def test_many_at_once(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(f"x{n:04}", expires_at=START + 5) for n in range(1100)])
        await broker.submit([a_job("a", on_lost="fail", priority=9)])
        (lease,) = await claims(broker)
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
        clock.advance(30)
        assert await broker.sweep() == 1101

    async def test_many_lost_runs_do_not_hide_one_that_ends(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(f"x{n:04}") for n in range(300)])
        assert len(await claims(broker, 300)) == 300
        clock.advance(1)
        await started(broker, "a", on_lost="fail", priority=9)
        clock.advance(30)
        await broker.submit([a_job("b", expires_at=clock.now)])
        assert await broker.sweep() == 2

    async def test_waiters_are_told(self, connect: Connect, clock: Clock) -> None:
        here, there = await connect(), await connect()
        await submitted(here, "a", expires_at=START + 5)
        waiting = asyncio.create_task(here.wait("a", 60))
        await asyncio.wait([waiting], timeout=0.05)
        clock.advance(5)
        await there.sweep()
        async with asyncio.timeout(5):
            assert (await waiting).state is State.FAILED

    async def test_side_by_side(self, connect: Connect, clock: Clock) -> None:
        brokers = [await connect() for _ in range(3)]
        await brokers[0].submit([a_job(f"x{n}", expires_at=START + 5) for n in range(50)])
        clock.advance(5)
        assert sum(await asyncio.gather(*(broker.sweep() for broker in brokers))) == 50

    async def test_a_sweep_may_leave_forgetting_to_another_time(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(retention=10)
        await ended(broker, "a")
        await broker.heartbeat(Worker(id="w1"), [])
        await submitted(broker, "b", expires_at=clock.now + 5)
        clock.advance(1000)
        assert await broker.sweep(forget=False) == 1
        assert (await broker.get("a")).id == "a"
        assert len(await broker.workers()) == 1
        assert await broker.sweep() == 0
        assert await broker.workers() == []
        with pytest.raises(JobNotFound):
            await broker.get("a")

    # -- forgetting -----------------------------------------------------------------------------------------------

    async def test_an_ended_job_is_readable_for_the_retention_time(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(retention=100)
        await ended(broker, "a")
        await leased(broker, "b")
        await submitted(broker, "c", run_at=clock.now + 1000)
        clock.advance(100)
        await broker.sweep()
        assert (await broker.get("a")).result == "1"
        clock.advance(0.5)
        await broker.sweep()
        with pytest.raises(JobNotFound):
            await broker.get("a")
        assert (await broker.get("b")).id == "b"  # only ended ones are forgotten
        assert (await broker.get("c")).id == "c"

    @needs("log")
    async def test_logs_go_with_the_record(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a", labels={"x": "y"})
        await broker.append(lease, [Record(1, START, "stdout", b"old")])
        await broker.settle(lease, Completed(result="1"))
        clock.advance(25 * 3600)
        await broker.sweep()
        with pytest.raises(JobNotFound):
            await broker.read("a")
        await leased(broker, "a")  # the id is free again, and begins with nothing
        assert await broker.read("a") == []

    async def test_many_are_forgotten_at_once(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(retention=1)
        await broker.submit([a_job(f"x{n:03}") for n in range(250)])
        for lease in await claims(broker, 250):
            await broker.cancel(lease.id)
        await asyncio.gather(*(broker.cancel(f"x{n:03}") for n in range(250)))
        clock.advance(60)
        await broker.sweep()  # ends them: their worker was lost
        clock.advance(60)
        await broker.sweep()
        assert await broker.queues() == []
