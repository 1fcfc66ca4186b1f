"""Limits by key: how many run at a time, how many start in a while."""

import asyncio

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Held, KeyLimit, Worker
from pumasi.core.outcome import Completed, Released
from pumasi.errors import Invalid
from tests.broker.conformance.base import Case, Clock, Connect, a_job, claims, ids_of_claim, leased, needs, submitted

ONE = KeyLimit(key="shop.example", concurrency=1)
TWO = KeyLimit(key="shop.example", concurrency=2)
RATE = KeyLimit(key="shop.example", count=2, period=60)


class Limits(Case):
    @needs("limits")
    async def test_at_most_so_many_run_at_a_time(self, broker: Broker) -> None:
        await broker.submit([a_job(f"{n}", limit=TWO) for n in range(4)])
        one, two = await claims(broker, 9)
        assert (one.id, two.id) == ("0", "1")
        assert await claims(broker, 9) == []
        await broker.settle(one, Completed(result="1"))
        assert await ids_of_claim(broker, 9) == ["2"]
        await broker.settle(two, Released())
        assert await ids_of_claim(broker, 9) == ["1"]

    @needs("limits")
    async def test_a_blocked_key_stops_nobody_else(self, broker: Broker) -> None:
        await broker.submit([a_job(f"k{n:03}", limit=ONE, priority=9) for n in range(300)])
        await broker.submit(
            [a_job("free"), a_job("other", limit=KeyLimit(key="other", concurrency=1)), a_job("z", limit=ONE)]
        )
        assert await ids_of_claim(broker, 9) == ["k000", "free", "other"]
        assert await ids_of_claim(broker, 9) == []

    @needs("limits")
    async def test_a_key_spans_queues(self, broker: Broker) -> None:
        lease = await leased(broker, "a", queue="one", limit=ONE)
        await submitted(broker, "b", queue="two", limit=ONE)
        assert await ids_of_claim(broker, queues=["two"]) == []
        await broker.settle(lease, Completed(result="1"))
        assert await ids_of_claim(broker, queues=["two"]) == ["b"]

    @needs("limits")
    async def test_each_job_brings_its_own_limit(self, broker: Broker) -> None:
        """Jobs under one key may say different numbers; each is held to its own."""
        await leased(broker, "a", limit=ONE)
        await broker.submit([a_job("b", limit=ONE), a_job("c", limit=TWO), a_job("d", limit=TWO)])
        assert await ids_of_claim(broker, 9) == ["c"]

    @needs("limits")
    async def test_the_order_among_jobs_of_a_key(self, broker: Broker) -> None:
        await broker.submit([a_job("low", limit=ONE), a_job("high", limit=ONE, priority=5)])
        (lease,) = await claims(broker, 9)
        assert lease.id == "high"
        await submitted(broker, "higher", limit=ONE, priority=7)
        await broker.settle(lease, Completed(result="1"))
        assert await ids_of_claim(broker, 9) == ["higher"]

    @needs("limits")
    async def test_cancelled_waiting_jobs_hold_no_place(self, broker: Broker) -> None:
        lease = await leased(broker, "a", limit=ONE)
        await broker.submit([a_job("b", limit=ONE), a_job("c", limit=ONE)])
        await broker.cancel("b")
        await broker.cancel("a")  # only flagged: it runs on
        assert await claims(broker) == []
        await broker.settle(lease, Completed(result="1"))
        assert await ids_of_claim(broker) == ["c"]

    @needs("limits")
    async def test_a_lost_run_holds_its_place_until_it_is_taken_again(self, broker: Broker, clock: Clock) -> None:
        await leased(broker, "a", limit=ONE)
        await submitted(broker, "b", limit=ONE, priority=9)
        clock.advance(29)
        assert await claims(broker) == []
        clock.advance(1)
        assert await ids_of_claim(broker, 9) == ["b"]

    @needs("limits")
    async def test_a_lost_run_that_ends_frees_its_place(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a", limit=ONE, on_lost="fail")
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
        await submitted(broker, "b", limit=ONE)
        clock.advance(30)
        assert await broker.sweep() == 1
        assert await ids_of_claim(broker, 9) == ["b"]

    @needs("limits")
    async def test_parallel_claims_keep_to_the_limit(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        await brokers[0].submit([a_job(limit=KeyLimit(key=f"k{n % 3}", concurrency=2)) for n in range(60)])
        running: list[str] = []
        for _ in range(3):
            got = await asyncio.gather(*(claims(brokers[n % 2], 5, worker=f"w{n}") for n in range(6)))
            leases = [lease for leases in got for lease in leases]
            running = [lease.job.limit.key for lease in leases if lease.job.limit]
            assert sorted(running) == ["k0", "k0", "k1", "k1", "k2", "k2"]
            for lease in leases:
                await brokers[1].settle(lease, Completed(result="1"))

    # -- rates ----------------------------------------------------------------------------------------------------

    @needs("limits")
    async def test_at_most_so_many_start_in_a_period(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(lease=10_000)
        await broker.submit([a_job(f"{n}", limit=RATE) for n in range(6)])
        assert await ids_of_claim(broker, 1) == ["0"]
        clock.advance(30)
        assert await ids_of_claim(broker, 9) == ["1"]
        clock.advance(29)
        assert await ids_of_claim(broker, 9) == []
        clock.advance(1)  # the first start is a period ago
        assert await ids_of_claim(broker, 9) == ["2"]
        clock.advance(30)
        assert await ids_of_claim(broker, 9) == ["3"]
        clock.advance(60)
        assert await ids_of_claim(broker, 9) == ["4", "5"]

    @needs("limits")
    async def test_an_end_gives_no_start_back(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(f"{n}", limit=RATE) for n in range(3)])
        for lease in await claims(broker, 9):
            await broker.settle(lease, Completed(result="1"))
        assert await claims(broker) == []
        clock.advance(60)
        assert await ids_of_claim(broker) == ["2"]

    @needs("limits")
    async def test_a_rate_outlives_the_records(self, broker: Broker, clock: Clock) -> None:
        limit = KeyLimit(key="daily", count=1, period=7 * 86400)
        lease = await leased(broker, "a", limit=limit)
        await broker.settle(lease, Completed(result="1"))
        clock.advance(3 * 86400)
        await broker.sweep()
        await submitted(broker, "b", limit=limit)
        assert await claims(broker) == []
        clock.advance(4 * 86400)
        assert await ids_of_claim(broker) == ["b"]

    @needs("limits")
    async def test_a_short_look_back_does_not_spoil_a_long_one(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(lease=10_000)
        long, short = KeyLimit(key="k", count=2, period=600), KeyLimit(key="k", count=1, period=1)
        await broker.submit([a_job("a", limit=long), a_job("b", limit=short), a_job("c", limit=short)])
        assert await ids_of_claim(broker, 9) == ["a"]
        clock.advance(2)
        assert await ids_of_claim(broker, 9) == ["b"]
        clock.advance(2)
        await submitted(broker, "d", limit=long, priority=9)
        assert await ids_of_claim(broker, 9) == ["c"]
        clock.advance(597)
        assert await ids_of_claim(broker, 9) == []  # b and c started within the last 600 s
        clock.advance(1.5)
        assert await ids_of_claim(broker, 9) == ["d"]

    @needs("limits")
    async def test_concurrency_and_rate_together(self, broker: Broker, clock: Clock) -> None:
        limit = KeyLimit(key="k", concurrency=1, count=2, period=60)
        await broker.submit([a_job(f"{n}", limit=limit) for n in range(3)])
        (lease,) = await claims(broker, 9)
        await broker.settle(lease, Completed(result="1"))
        (lease,) = await claims(broker, 9)
        await broker.settle(lease, Completed(result="1"))
        assert await claims(broker, 9) == []
        clock.advance(60)
        assert await ids_of_claim(broker, 9) == ["2"]

    # -- outside a claim ------------------------------------------------------------------------------------------

    @needs("limits")
    async def test_acquire_takes_starts_or_says_when(self, broker: Broker, clock: Clock) -> None:
        limit = KeyLimit(key="api", count=3, period=10)
        assert await broker.acquire(limit, 2) == 0
        clock.advance(4)
        assert await broker.acquire(limit, 2) == pytest.approx(6)
        assert await broker.acquire(limit) == 0
        assert await broker.acquire(limit) == pytest.approx(6)
        assert await broker.acquire(limit, 3) == pytest.approx(10)
        clock.advance(6)
        assert await broker.acquire(limit, 2) == 0
        assert await broker.acquire(KeyLimit(key="other", count=1, period=1)) == 0

    @needs("limits")
    async def test_acquire_and_claims_share_the_key(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a", limit=RATE)
        assert await broker.acquire(RATE, 2) == 0
        assert await claims(broker) == []
        clock.advance(60)
        assert await ids_of_claim(broker) == ["a"]
        assert await broker.acquire(RATE, 2) == pytest.approx(60)

    @needs("limits")
    @pytest.mark.parametrize(
        ("limit", "n"),
        [
            (RATE, 3),
            (RATE, 0),
            (RATE, -1),
            (ONE, 1),
            (KeyLimit(key="k", count=1, period=0), 1),
            (KeyLimit(key="k", count=0), 1),
        ],
    )
    async def test_acquire_refuses_what_can_never_be_granted(self, broker: Broker, limit: KeyLimit, n: int) -> None:
        with pytest.raises(Invalid):
            await broker.acquire(limit, n)

    @needs("limits")
    async def test_parallel_acquires_keep_to_the_rate(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        limit = KeyLimit(key="api", count=5, period=60)
        waits = await asyncio.gather(*(brokers[n % 2].acquire(limit) for n in range(20)))
        assert waits.count(0) == 5
