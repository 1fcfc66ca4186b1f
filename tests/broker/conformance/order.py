"""Queues that look after those who wait long, and after those who share them."""

import asyncio

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import KeyLimit, QueueSettings
from pumasi.core.outcome import Completed, Released
from pumasi.errors import Invalid
from tests.broker.conformance.base import (
    MIB,
    START,
    Case,
    Clock,
    Connect,
    a_job,
    claims,
    ended,
    ids_of_claim,
    needs,
    submitted,
)

AGEING = QueueSettings(ageing=60.0)
FAIR = QueueSettings(fair=True)


class Order(Case):
    # -- ageing ---------------------------------------------------------------------------------------------------

    @needs("order")
    async def test_waiting_raises_the_priority(self, broker: Broker, clock: Clock) -> None:
        await broker.set_queue("default", AGEING)
        await submitted(broker, "old")
        clock.advance(119)
        await broker.submit([a_job("new2", priority=2), a_job("new1", priority=1)])
        assert await ids_of_claim(broker, 2) == ["new2", "old"]
        await submitted(broker, "newer1", priority=1)
        assert await ids_of_claim(broker, 2) == ["new1", "newer1"]

    @needs("order")
    async def test_by_default_waiting_raises_nothing(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "old")
        clock.advance(10_000)
        await submitted(broker, "new", priority=1)
        assert await ids_of_claim(broker, 2) == ["new", "old"]

    @needs("order")
    async def test_a_level_is_reached_by_the_whole(self, broker: Broker, clock: Clock) -> None:
        await broker.set_queue("default", AGEING)
        await submitted(broker, "old")
        clock.advance(59.5)
        await submitted(broker, "new", priority=1)
        assert await ids_of_claim(broker) == ["new"]
        clock.advance(0.5)
        await submitted(broker, "newer", priority=1)
        assert await ids_of_claim(broker, 2) == ["old", "newer"]

    @needs("order")
    async def test_only_those_due_grow_old(self, broker: Broker, clock: Clock) -> None:
        await broker.set_queue("default", AGEING)
        await submitted(broker, "later", run_at=START + 600)
        clock.advance(610)
        await submitted(broker, "new", priority=1)
        assert await ids_of_claim(broker, 2) == ["new", "later"]

    @needs("order")
    async def test_levels_count_across_queues(self, broker: Broker, clock: Clock) -> None:
        await broker.set_queue("a", AGEING)
        await broker.submit([a_job("a", queue="a"), a_job("b", queue="b")])
        clock.advance(180)
        await broker.submit([a_job("b2", queue="b", priority=2), a_job("b4", queue="b", priority=4)])
        assert await ids_of_claim(broker, 9, queues=["a", "b"]) == ["b4", "a", "b2", "b"]

    @needs("order")
    async def test_age_lets_nobody_pass_a_limit(self, broker: Broker, clock: Clock) -> None:
        await broker.set_queue("default", AGEING)
        limit = KeyLimit(key="k", concurrency=1)
        await broker.submit([a_job("k1", limit=limit), a_job("k2", limit=limit), a_job("big", required_memory=9 * MIB)])
        clock.advance(600)
        await submitted(broker, "new", priority=3)
        assert await ids_of_claim(broker, 9, memory=8 * MIB + 1) == []
        assert await ids_of_claim(broker, 2) == ["big", "k1"]
        assert await ids_of_claim(broker, 9) == ["new"]

    @needs("order")
    @pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
    async def test_ageing_is_a_time(self, broker: Broker, seconds: float) -> None:
        with pytest.raises(Invalid):
            await broker.set_queue("default", QueueSettings(ageing=seconds))

    # -- fair shares ----------------------------------------------------------------------------------------------

    @needs("order")
    async def test_those_who_share_are_served_in_turn(self, broker: Broker) -> None:
        await broker.set_queue("default", FAIR)
        await broker.submit([a_job(f"a{n}", share="a") for n in range(4)])
        await broker.submit([a_job("b0", share="b"), a_job("b1", share="b"), a_job("c0", share="c")])
        assert await ids_of_claim(broker, 5) == ["a0", "b0", "c0", "a1", "b1"]
        assert await ids_of_claim(broker, 5) == ["a2", "a3"]

    @needs("order")
    async def test_by_default_the_first_comes_first(self, broker: Broker) -> None:
        await broker.submit([a_job(f"a{n}", share="a") for n in range(3)])
        await submitted(broker, "b", share="b")
        assert await ids_of_claim(broker, 9) == ["a0", "a1", "a2", "b"]

    @needs("order")
    async def test_who_was_served_longest_ago_comes_next(self, broker: Broker) -> None:
        """With one slot nobody runs more than another: the turn goes round all the same."""
        await broker.set_queue("default", FAIR)
        await broker.submit([a_job(f"{share}{n}", share=share) for share in "abc" for n in range(2)])
        order = []
        for _ in range(6):
            (lease,) = await claims(broker)
            order.append(lease.id)
            await broker.settle(lease, Completed(result="1"))
        assert order == ["a0", "b0", "c0", "a1", "b1", "c1"]

    @needs("order")
    async def test_who_runs_fewest_comes_before_who_waited_longest(self, broker: Broker) -> None:
        await broker.set_queue("default", FAIR)
        await broker.submit([a_job("a0", share="a"), a_job("a1", share="a"), a_job("b0", share="b")])
        a0, b0, a1 = await claims(broker, 3)
        assert [a0.id, b0.id, a1.id] == ["a0", "b0", "a1"]
        await broker.settle(b0, Completed(result="1"))  # a runs two, b none, and b was served before a
        await broker.submit([a_job("b1", share="b"), a_job("b2", share="b"), a_job("a2", share="a")])
        assert await ids_of_claim(broker, 3) == ["b1", "b2", "a2"]

    @needs("order")
    async def test_a_higher_priority_goes_before_any_turn(self, broker: Broker) -> None:
        await broker.set_queue("default", FAIR)
        await broker.submit([a_job(f"a{n}", share="a", priority=1) for n in range(2)])
        await broker.submit([a_job("b0", share="b"), a_job("a2", share="a")])
        assert await ids_of_claim(broker, 4) == ["a0", "a1", "b0", "a2"]

    @needs("order")
    async def test_shares_are_counted_in_each_queue(self, broker: Broker) -> None:
        await broker.set_queue("fair", FAIR)
        await broker.submit([a_job(f"o{n}", queue="other", share="a") for n in range(3)])
        assert len(await claims(broker, 3, queues=["other"])) == 3
        await broker.submit([a_job("a", queue="fair", share="a"), a_job("b", queue="fair", share="b")])
        assert await ids_of_claim(broker, 2, queues=["fair"]) == ["a", "b"]

    @needs("order")
    async def test_a_fair_queue_beside_another(self, broker: Broker, clock: Clock) -> None:
        """Of what the queues offer next, the best is taken."""
        await broker.set_queue("fair", FAIR)
        for id, queue, share in [("1", "fair", "a"), ("2", "fair", "a"), ("3", "plain", ""), ("4", "fair", "b")]:
            await submitted(broker, id, queue=queue, share=share)
            clock.advance(1)
        assert await ids_of_claim(broker, 9, queues=["fair", "plain"]) == ["1", "3", "4", "2"]

    @needs("order")
    async def test_a_share_that_is_blocked_gives_its_turn_away(self, broker: Broker) -> None:
        await broker.set_queue("default", FAIR)
        limit = KeyLimit(key="k", concurrency=1)
        await broker.submit([a_job(f"a{n}", share="a", limit=limit) for n in range(2)])
        await broker.submit([a_job("a9", share="a"), a_job("b0", share="b"), a_job("b1", share="b")])
        assert await ids_of_claim(broker, 9) == ["a0", "b0", "a9", "b1"]
        assert await claims(broker) == []

    @needs("order")
    async def test_a_release_gives_the_place_back(self, broker: Broker) -> None:
        await broker.set_queue("default", FAIR)
        await broker.submit([a_job("a0", share="a"), a_job("b0", share="b")])
        (lease,) = await claims(broker)
        await broker.settle(lease, Released())
        assert await ids_of_claim(broker, 9) == ["b0", "a0"]  # a was served, though to no end

    @needs("order")
    async def test_fair_and_ageing_together(self, broker: Broker, clock: Clock) -> None:
        """Among jobs of one level the turn goes round; who has grown old is of a higher one."""
        await broker.set_queue("default", QueueSettings(fair=True, ageing=60.0))
        await broker.submit([a_job("a0", share="a"), a_job("a1", share="a")])
        clock.advance(61)
        await broker.submit([a_job("b0", share="b"), a_job("c0", share="c", priority=1)])
        assert await ids_of_claim(broker, 9) == ["a0", "c0", "a1", "b0"]

    @needs("order")
    async def test_turns_are_shared_by_all_who_claim(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        await brokers[0].set_queue("default", FAIR)
        await brokers[0].submit([a_job(share=f"s{n % 3}") for n in range(30)])
        got = await asyncio.gather(*(claims(brokers[n % 2], 3, worker=f"w{n}") for n in range(4)))
        served = [lease.job.share for leases in got for lease in leases]
        assert sorted(served) == sorted(["s0", "s1", "s2"] * 4)

    @needs("order")
    async def test_settings_can_be_turned_off_again(self, connect: Connect, clock: Clock) -> None:
        here, there = await connect(), await connect()
        await here.set_queue("default", QueueSettings(fair=True, ageing=5.0))
        queue = await there.set_queue("default", QueueSettings(fair=False))
        assert (queue.fair, queue.ageing) == (False, 5.0)
        queue = await there.set_queue("default", QueueSettings(ageing=None))
        assert (queue.fair, queue.ageing) == (False, None)
        await here.submit([a_job("a0", share="a"), a_job("a1", share="a"), a_job("b0", share="b")])
        clock.advance(100)
        await submitted(here, "c", priority=1)
        assert await ids_of_claim(there, 9) == ["c", "a0", "a1", "b0"]

    @needs("order")
    async def test_what_has_ended_leaves_no_trace_of_its_share(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(retention=10)
        await broker.set_queue("default", FAIR)
        await ended(broker, "a", share="a")
        clock.advance(11)
        await broker.sweep()
        await broker.submit([a_job("b", share="b"), a_job("a2", share="a", run_at=START)])
        assert await ids_of_claim(broker, 9) == ["a2", "b"]
