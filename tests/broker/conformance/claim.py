"""Handing jobs out: to one each, in order, and only what may be had."""

import asyncio
from collections import Counter

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import QueueSettings, State
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
    ids_of_claim,
    leased,
    needs,
    submitted,
)


class Claims(Case):
    async def test_nothing_to_have(self, broker: Broker) -> None:
        assert await claims(broker, 4) == []

    async def test_a_lease_is_the_running_job_and_a_token(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(lease=42)
        await submitted(broker, "a")
        clock.advance(3)
        (lease,) = await claims(broker, worker="w7", claim_id="c1")
        assert lease.expires_in == 42
        assert lease.token and lease.token == lease.job.token
        job = lease.job
        assert (job.state, job.attempt, job.worker, job.claim_id) == (State.RUNNING, 1, "w7", "c1")
        assert (job.claimed_at, job.lease_until, job.started_at) == (START + 3, START + 45, None)
        assert await broker.get("a") == job
        assert await claims(broker) == []

    async def test_every_claim_raises_the_attempt_and_makes_a_token(self, broker: Broker) -> None:
        tokens = set()
        await submitted(broker, "a")
        for attempt in range(1, 5):
            (lease,) = await claims(broker)
            assert lease.job.attempt == attempt
            tokens.add(lease.token)
            await broker.settle(lease, Released())
        assert len(tokens) == 4

    # -- order ----------------------------------------------------------------------------------------------------

    async def test_by_priority_then_due_time_then_id(self, broker: Broker) -> None:
        await broker.submit(
            [
                a_job("f", priority=0, run_at=START - 9),
                a_job("e", priority=5, run_at=START),
                a_job("d", priority=5, run_at=START),
                a_job("z", priority=5, run_at=START - 1),
                a_job("a", priority=9, run_at=START),
                a_job("g", priority=0, run_at=START - 8, required_memory=1),
                a_job("h", priority=0, run_at=START - 7),
            ]
        )
        assert await ids_of_claim(broker, 4) == ["a", "z", "d", "e"]
        assert await ids_of_claim(broker, 9) == ["f", "g", "h"]

    async def test_the_order_holds_across_queues(self, broker: Broker) -> None:
        await broker.submit(
            [
                a_job("1", queue="a", priority=1),
                a_job("2", queue="b", priority=3),
                a_job("3", queue="c", priority=9),
                a_job("4", queue="a", priority=2),
                a_job("5", queue="b", priority=2, run_at=START - 1),
            ]
        )
        assert await ids_of_claim(broker, 9, queues=["a", "b", "a"]) == ["2", "5", "4", "1"]

    async def test_what_is_submitted_later_and_more_urgent_goes_first(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a"), a_job("b")])
        assert await ids_of_claim(broker) == ["a"]
        clock.advance(1)
        await submitted(broker, "c", priority=1)
        assert await ids_of_claim(broker, 2) == ["c", "b"]

    # -- what may be had ------------------------------------------------------------------------------------------

    async def test_not_before_it_is_due(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("later", priority=9, run_at=START + 10), a_job("now")])
        assert await ids_of_claim(broker, 9) == ["now"]
        clock.advance(9.5)
        assert await ids_of_claim(broker, 9) == []
        clock.advance(0.5)
        assert await ids_of_claim(broker, 9) == ["later"]

    async def test_not_after_it_has_expired(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a", expires_at=START + 5), a_job("b", expires_at=START + 50)])
        clock.advance(5)
        assert await ids_of_claim(broker, 9) == ["b"]

    async def test_an_expired_job_hides_nothing_behind_it(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job("a", expires_at=START + 5), a_job("b", run_at=START + 9)])
        clock.advance(6)
        assert await ids_of_claim(broker, 9) == []
        clock.advance(3)
        assert await ids_of_claim(broker, 9) == ["b"]

    async def test_only_from_the_queues_named(self, broker: Broker) -> None:
        await broker.submit([a_job("a", queue="a"), a_job("b", queue="b"), a_job("c", queue="c")])
        assert await ids_of_claim(broker, 9, queues=["a", "c", "none"]) == ["a", "c"]
        assert await ids_of_claim(broker, 9, queues=[]) == []

    @needs("pause")
    async def test_not_from_a_paused_queue(self, broker: Broker) -> None:
        await broker.set_queue("a", QueueSettings(paused=True))
        await broker.submit([a_job("a", queue="a"), a_job("b", queue="b")])
        assert await ids_of_claim(broker, 9, queues=["a", "b"]) == ["b"]
        await broker.set_queue("a", QueueSettings(paused=False))
        assert await ids_of_claim(broker, 9, queues=["a", "b"]) == ["a"]

    async def test_as_many_as_there_are_slots(self, broker: Broker) -> None:
        await broker.submit([a_job(f"j{n}") for n in range(7)])
        assert await ids_of_claim(broker, 3) == ["j0", "j1", "j2"]
        assert await ids_of_claim(broker, 3) == ["j3", "j4", "j5"]
        assert await ids_of_claim(broker, 3) == ["j6"]
        with pytest.raises(Invalid):
            await claims(broker, -1)

    @needs("memory")
    async def test_what_is_handed_out_fits_into_the_memory_in_sum(self, broker: Broker) -> None:
        await broker.submit(
            [
                a_job("a", required_memory=100 * MIB),
                a_job("b", required_memory=300 * MIB),
                a_job("c", required_memory=100 * MIB),
                a_job("d", required_memory=100 * MIB),
            ]
        )
        assert await ids_of_claim(broker, 9, memory=99 * MIB) == []
        assert await ids_of_claim(broker, 9, memory=250 * MIB) == ["a", "c"]
        assert await ids_of_claim(broker, 9, memory=400 * MIB) == ["b", "d"]

    @needs("memory")
    async def test_one_that_does_not_fit_stops_nobody_behind_it(self, broker: Broker) -> None:
        await broker.submit([a_job(f"big{n:02}", priority=9, required_memory=900 * MIB) for n in range(30)])
        await submitted(broker, "small", required_memory=10 * MIB)
        assert await ids_of_claim(broker, 1, memory=100 * MIB) == ["small"]
        assert await ids_of_claim(broker, 1, memory=900 * MIB) == ["big00"]

    @needs("memory")
    async def test_many_sizes_are_packed_in_order(self, broker: Broker) -> None:
        await broker.submit([a_job(f"{n}", required_memory=size * MIB) for n, size in enumerate((5, 9, 4, 3, 2, 1))])
        assert await ids_of_claim(broker, 4, memory=12 * MIB) == ["0", "2", "3"]
        assert await ids_of_claim(broker, 4, memory=12 * MIB) == ["1", "4", "5"]

    # -- claim ids ------------------------------------------------------------------------------------------------

    async def test_the_same_claim_id_gives_the_leases_still_held(self, broker: Broker) -> None:
        await broker.submit([a_job("a"), a_job("b"), a_job("c")])
        first = await claims(broker, 2, claim_id="c1")
        again = await claims(broker, 2, claim_id="c1")
        assert sorted(again, key=lambda lease: lease.id) == first
        await broker.settle(first[0], Completed(result="1"))
        assert [lease.token for lease in await claims(broker, 2, claim_id="c1")] == [first[1].token]
        await broker.settle(first[1], Completed(result="1"))
        assert [lease.id for lease in await claims(broker, 2, claim_id="c1")] == ["c"]

    async def test_a_claim_without_slots_gives_back_what_was_won_and_nothing_new(
        self, broker: Broker, clock: Clock
    ) -> None:
        await broker.submit([a_job("a"), a_job("b")])
        assert await claims(broker, 0, claim_id="c1") == []
        (won,) = await claims(broker, claim_id="c1")
        assert [lease.token for lease in await claims(broker, 0, claim_id="c1")] == [won.token]
        clock.advance(30)
        assert await claims(broker, 0, claim_id="c1") == []
        assert (await broker.get("a")).token == won.token  # its owner may still be late

    async def test_a_repeated_claim_tells_how_long_the_lease_still_lasts(self, broker: Broker, clock: Clock) -> None:
        await leased(broker, "a")
        await submitted(broker, "b")
        await claims(broker, claim_id="c1")
        clock.advance(20)
        (lease,) = await claims(broker, claim_id="c1")
        assert lease.expires_in == pytest.approx(10)

    async def test_a_claim_id_is_its_workers_own(self, broker: Broker) -> None:
        await broker.submit([a_job("a"), a_job("b")])
        assert await ids_of_claim(broker, worker="w1", claim_id="c") == ["a"]
        assert await ids_of_claim(broker, worker="w2", claim_id="c") == ["b"]

    async def test_a_lapsed_lease_is_held_no_more(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a")
        (first,) = await claims(broker, claim_id="c1")
        clock.advance(30)
        (second,) = await claims(broker, claim_id="c1")
        assert (second.id, second.job.attempt) == ("a", 2)
        assert second.token != first.token

    # -- side by side ---------------------------------------------------------------------------------------------

    async def test_parallel_claims_never_get_the_same_job(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        await brokers[0].submit([a_job(priority=n % 3, required_memory=n % 2) for n in range(60)])
        got = await asyncio.gather(*(claims(brokers[n % 2], 7, worker=f"w{n}") for n in range(12)))
        counts = Counter(lease.id for leases in got for lease in leases)
        assert len(counts) == 60
        assert set(counts.values()) == {1}
        assert all(len(leases) <= 7 for leases in got)
