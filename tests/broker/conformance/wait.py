"""Waiting for the end of a job."""

import asyncio

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import State
from pumasi.core.outcome import Completed, Released
from pumasi.errors import JobNotFound
from tests.broker.conformance.base import Case, Connect, ended, leased, submitted


class Wait(Case):
    async def test_an_ended_job_is_answered_at_once(self, broker: Broker) -> None:
        job = await ended(broker, "a")
        assert await broker.wait("a", 60) == job

    async def test_after_its_time_the_job_is_answered_as_it_stands(self, broker: Broker) -> None:
        job = await submitted(broker, "a")
        async with asyncio.timeout(5):
            assert await broker.wait("a", 0) == job
            assert await broker.wait("a", 0.02) == job

    async def test_an_unknown_job(self, broker: Broker) -> None:
        with pytest.raises(JobNotFound):
            await broker.wait("nobody", 60)

    @pytest.mark.parametrize("how", ["settle", "cancel"])
    async def test_woken_by_the_end_in_another_process(self, connect: Connect, how: str) -> None:
        here, there = await connect(), await connect()
        lease = await leased(there, "a") if how == "settle" else None
        if lease is None:
            await submitted(there, "a")
        waiting = [asyncio.create_task(broker.wait("a", 60)) for broker in (here, here, there)]
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        await (there.settle(lease, Completed(result="1")) if lease else there.cancel("a"))
        async with asyncio.timeout(5):
            jobs = await asyncio.gather(*waiting)
        assert {job.state for job in jobs} == {State.COMPLETED if lease else State.CANCELLED}

    async def test_a_release_is_no_end(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        waiting = asyncio.create_task(broker.wait("a", 60))
        await asyncio.wait([waiting], timeout=0.02)
        await broker.settle(lease, Released())
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        await broker.cancel("a")
        async with asyncio.timeout(5):
            assert (await waiting).state is State.CANCELLED
