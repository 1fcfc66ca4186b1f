"""Watching: news of jobs as hints, in order, resumable."""

import asyncio
from collections.abc import AsyncIterator

from pumasi.broker.base import Broker
from pumasi.core.job import Event, Query, Record, State
from pumasi.core.outcome import Completed
from tests.broker.conformance.base import START, Case, Connect, a_job, claims, leased, needs, submitted


async def take(events: AsyncIterator[Event], n: int) -> list[tuple[str, State]]:
    """The next `n` events: which job, and its state."""
    async with asyncio.timeout(5):
        return [(event.job.id, event.job.state) for event in [await anext(events) for _ in range(n)]]


class Watch(Case):
    @needs("find")
    async def test_changes_from_now_on_are_told(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        await submitted(here, "old")
        events = here.watch(Query())
        first = asyncio.ensure_future(take(events, 1))
        await asyncio.wait([first], timeout=0.05)
        await there.cancel("old")
        assert await first == [("old", State.CANCELLED)]
        lease = await leased(there, "new")
        await there.settle(lease, Completed(result="1"))
        states = [State.PENDING, State.RUNNING, State.COMPLETED]
        async with asyncio.timeout(5):
            async for event in events:  # steps that follow quickly may be told as one
                assert event.job.id == "new"
                assert event.job.state in states
                states = states[states.index(event.job.state) :]
                if event.job.ended:
                    break
        await events.aclose()

    @needs("find")
    async def test_it_resumes_where_it_was(self, broker: Broker) -> None:
        await broker.submit([a_job("a"), a_job("b"), a_job("c")])
        events = broker.watch(Query(), after=0)
        assert [id for id, _ in await take(events, 2)] == ["a", "b"]
        await events.aclose()
        second = await broker.get("b")
        events = broker.watch(Query(), after=second.change)
        await broker.cancel("a")
        assert await take(events, 2) == [("c", State.PENDING), ("a", State.CANCELLED)]
        await events.aclose()

    @needs("find")
    async def test_only_what_the_query_means(self, broker: Broker) -> None:
        events = broker.watch(Query(queue="b", labels={"x": "y"}), after=0)
        await broker.submit([a_job("1", queue="b"), a_job("2", labels={"x": "y"})])
        await broker.submit([a_job("3", queue="b", labels={"x": "y"})])
        assert await take(events, 1) == [("3", State.PENDING)]
        await events.aclose()

    @needs("find", "log")
    async def test_progress_is_news(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        events = broker.watch(Query(ids=("a",)))
        first = asyncio.ensure_future(anext(events))
        await asyncio.wait([first], timeout=0.05)
        await broker.append(lease, [Record(1, START, "progress", b'[1,2,""]')])
        async with asyncio.timeout(5):
            event = await first
        assert event.job.progress is not None
        assert event.change == event.job.change == await broker.position()
        await events.aclose()

    @needs("find")
    async def test_a_flood_is_told_whole(self, broker: Broker) -> None:
        await broker.submit([a_job(f"{n:04}") for n in range(700)])
        events = broker.watch(Query(), after=0)
        async with asyncio.timeout(20):
            seen = [(await anext(events)).job.id for _ in range(700)]
        assert seen == [f"{n:04}" for n in range(700)]
        await events.aclose()

    async def test_a_hint_ends_with_a_ring_or_its_time(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        async with asyncio.timeout(5):
            assert not await here.hint("queue:default", timeout=0.02)
            hint = asyncio.create_task(here.hint("queue:other", "queue:default", timeout=60))
            await asyncio.wait([hint], timeout=0.05)
            await submitted(there)
            assert await hint
        assert len(await claims(here)) == 1
