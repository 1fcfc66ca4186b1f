"""Heartbeats: who is alive, which leases go on, which runs are to stop."""

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Held, Stop, Worker
from pumasi.core.outcome import Completed
from tests.broker.conformance.base import START, Case, Clock, Connect, claims, ended, leased


class Heartbeats(Case):
    async def test_a_worker_is_known_by_its_heartbeat(self, broker: Broker, clock: Clock) -> None:
        me = Worker(
            id="w1", host="h", pid=7, version="1", queues=("a", "b"), isolation="basic", slots_total=4, slots_used=1,
            memory_total=10, memory_free=9, started_at=START - 5, stats={"tasks_completed": 3.0},
        )  # fmt: skip
        assert await broker.heartbeat(me, []) == []
        (seen,) = await broker.workers()
        assert (seen.seen_at, seen.status, seen.queues, seen.stats) == (START, "active", me.queues, me.stats)
        clock.advance(10)
        await broker.heartbeat(Worker(id="w1", status="draining"), [])
        await broker.heartbeat(Worker(id="w0"), [])
        assert [(worker.id, worker.status) for worker in await broker.workers()] == [
            ("w0", "active"),
            ("w1", "draining"),
        ]

    async def test_one_that_says_goodbye_is_forgotten(self, broker: Broker) -> None:
        await broker.heartbeat(Worker(id="w1"), [])
        await broker.heartbeat(Worker(id="w1", status="stopped"), [])
        assert await broker.workers() == []

    async def test_silent_for_two_leases_it_is_lost_and_in_time_forgotten(self, broker: Broker, clock: Clock) -> None:
        await broker.heartbeat(Worker(id="w1"), [])
        clock.advance(60)
        assert [worker.status for worker in await broker.workers()] == ["active"]
        clock.advance(1)
        assert [worker.status for worker in await broker.workers()] == ["lost"]
        await broker.heartbeat(Worker(id="w1"), [])
        assert [worker.status for worker in await broker.workers()] == ["active"]
        clock.advance(301)
        await broker.sweep()
        assert await broker.workers() == []

    async def test_all_leases_go_on_in_one_call(self, broker: Broker, clock: Clock) -> None:
        one, two = await leased(broker, "a"), await leased(broker, "b")
        for _ in range(5):
            clock.advance(20)
            held = [Held(lease.id, lease.token) for lease in (one, two)]
            assert await broker.heartbeat(Worker(id="w1"), held) == []
        assert (await broker.get("a")).lease_until == clock.now + 30
        assert await claims(broker, 9) == []

    async def test_the_lease_lasts_as_long_as_the_broker_says(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(lease=100)
        lease = await leased(broker, "a")
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token)])
        clock.advance(99)
        assert await claims(broker) == []

    async def test_started_is_marked_once(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token)])
        assert (await broker.get("a")).started_at is None
        clock.advance(1)
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
        clock.advance(1)
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
        assert (await broker.get("a")).started_at == START + 1
        job = await broker.settle(lease, Completed(result="1"))
        assert job.started_at == START + 1

    async def test_a_heartbeat_stands_in_no_settles_way(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        before = (await broker.get("a")).revision
        clock.advance(10)
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
        assert (await broker.get("a")).revision == before
        assert (await broker.settle(lease, Completed(result="1"))).result == "1"

    @pytest.mark.parametrize("whose", ["unknown", "another's", "ended"])
    async def test_a_lease_that_no_longer_holds_is_lost(self, broker: Broker, clock: Clock, whose: str) -> None:
        lease = await leased(broker, "a")
        held = {"unknown": Held("nobody", "t"), "another's": Held("a", "t"), "ended": Held("a", lease.token)}[whose]
        if whose == "ended":
            await broker.settle(lease, Completed(result="1"))
        before = await broker.get("a")
        clock.advance(1)
        assert await broker.heartbeat(Worker(id="w1"), [held]) == [Stop(held.id, held.token, "lost")]
        assert await broker.get("a") == before

    async def test_a_lease_taken_over_is_lost_to_the_first(self, broker: Broker, clock: Clock) -> None:
        first = await leased(broker, "a")
        clock.advance(30)
        (second,) = await claims(broker, worker="w2")
        assert await broker.heartbeat(Worker(id="w1"), [Held("a", first.token)]) == [Stop("a", first.token, "lost")]
        assert await broker.heartbeat(Worker(id="w2"), [Held("a", second.token)]) == []

    async def test_a_late_heartbeat_keeps_what_nobody_took(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        clock.advance(100)
        assert await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token)]) == []
        assert await claims(broker) == []

    async def test_a_cancelled_run_is_told_to_stop_until_it_does(self, broker: Broker, clock: Clock) -> None:
        lease, other = await leased(broker, "a"), await leased(broker, "b")
        await broker.cancel("a")
        held = [Held(lease.id, lease.token), Held(other.id, other.token)]
        for _ in range(3):
            clock.advance(20)  # its lease goes on meanwhile: the worker needs time to stop it
            assert await broker.heartbeat(Worker(id="w1"), held) == [Stop("a", lease.token, "cancelled")]

    async def test_workers_are_no_part_of_jobs(self, broker: Broker) -> None:
        job = await ended(broker, "a")
        await broker.heartbeat(Worker(id=job.worker or "", status="stopped"), [])
        assert await broker.get("a") == job
