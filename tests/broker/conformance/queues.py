"""Queues: how full they are, and what is set for them."""

from pumasi.broker.base import Broker
from pumasi.core.job import KeyLimit, Queue, QueueSettings
from pumasi.core.outcome import Completed
from tests.broker.conformance.base import START, Case, Clock, Connect, a_job, claims, ended, needs, submitted


class Queues(Case):
    async def test_no_queues_at_first(self, broker: Broker) -> None:
        assert await broker.queues() == []

    async def test_what_waits_and_what_runs(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(), a_job(), a_job(run_at=START + 100), a_job(queue="b")])
        clock.advance(7)
        await broker.submit([a_job(priority=3), a_job(required_memory=1), a_job(limit=KeyLimit(key="k"))])
        await claims(broker, queues=["b"])
        assert await broker.queues() == [
            Queue(name="b", running=1),
            Queue(name="default", pending=6, due=5, oldest_age=7),
        ]

    async def test_counts_follow_every_change(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a"), a_job("b"), a_job("c")])
        (lease,) = await claims(broker)
        await broker.settle(lease, Completed(result="1"))
        await broker.cancel("b")
        clock.advance(5)
        assert await broker.queues() == [Queue(name="default", pending=1, due=1, oldest_age=5)]
        clock.advance(25 * 3600)
        await broker.cancel("c")
        await broker.sweep()
        assert await broker.queues() == [Queue(name="default")]

    async def test_a_queue_is_listed_as_long_as_it_holds_a_job(self, broker: Broker, clock: Clock) -> None:
        await ended(broker, "a")
        await claims(broker, queues=["never-used"])
        assert [queue.name for queue in await broker.queues()] == ["default"]
        clock.advance(25 * 3600)
        await broker.sweep()
        assert await broker.queues() == []

    async def test_the_oldest_is_the_longest_due(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(run_at=START + 3), a_job(run_at=START + 1, priority=9), a_job(run_at=START + 50)])
        clock.advance(5)
        (queue,) = await broker.queues()
        assert (queue.oldest_age, queue.due) == (4, 2)

    @needs("pause")
    async def test_settings_are_changed_one_by_one(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        assert await here.set_queue("a", QueueSettings(max_pending=5)) == Queue(name="a", max_pending=5)
        assert await there.set_queue("a", QueueSettings(paused=True)) == Queue(name="a", paused=True, max_pending=5)
        assert await here.set_queue("a", QueueSettings()) == Queue(name="a", paused=True, max_pending=5)
        assert await here.set_queue("a", QueueSettings(max_pending=None)) == Queue(name="a", paused=True)
        assert [queue.name for queue in await there.queues()] == ["a"]

    @needs("pause")
    async def test_a_paused_queue_takes_jobs_in_and_hands_none_out(self, broker: Broker, clock: Clock) -> None:
        await broker.set_queue("default", QueueSettings(paused=True))
        job = await submitted(broker, "a")
        assert await claims(broker) == []
        assert await broker.get("a") == job
        (queue,) = await broker.queues()
        assert (queue.paused, queue.pending) == (True, 1)

    @needs("pause")
    async def test_a_pause_leaves_running_jobs_alone(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a"), a_job("b")])
        (lease,) = await claims(broker)
        await broker.set_queue("default", QueueSettings(paused=True))
        clock.advance(30)
        assert await claims(broker) == []  # a lapsed run stays where it is, too
        await broker.settle(lease, Completed(result="1"))
        assert (await broker.get("a")).ended
