"""Claims that wait: woken by whatever makes a job to be had, in this process or another.

No case waits for long: a claim that nobody wakes looks again only after seconds, and the case fails by its timeout.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, KeyLimit, Lease, Query, QueueSettings, Retry, State
from pumasi.core.outcome import Completed, Failed, Released
from tests.broker.conformance.base import START, Case, Clock, Connect, claims, leased, needs, submitted

#: seconds within which a woken claim has long answered, and one that was not woken has not
PATIENCE = 5.0


async def woken(broker: Broker, act: Callable[[], Awaitable[object]], **values: object) -> list[Lease]:
    """What a claim that waits gets once `act` has happened."""
    waiting = asyncio.create_task(claims(broker, **({"wait": 60} | values)))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    await act()
    async with asyncio.timeout(PATIENCE):
        return await waiting


class WaitingClaims(Case):
    async def test_a_claim_gives_up_after_its_time(self, broker: Broker) -> None:
        async with asyncio.timeout(PATIENCE):
            assert await claims(broker, wait=0.02) == []

    async def test_woken_by_a_submit(self, broker: Broker) -> None:
        (lease,) = await woken(broker, lambda: submitted(broker, "a"))
        assert lease.id == "a"

    async def test_woken_by_a_submit_in_another_process(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        (lease,) = await woken(here, lambda: submitted(there, "a"))
        assert lease.id == "a"

    async def test_a_wake_up_for_one_queue_is_heard_among_many(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        (lease,) = await woken(here, lambda: submitted(there, "a", queue="q7"), queues=[f"q{n}" for n in range(20)])
        assert lease.id == "a"

    async def test_every_waiting_claim_gets_its_share(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        waiting = [asyncio.create_task(claims(broker, wait=60)) for broker in (here, there, here, there)]
        await asyncio.wait(waiting, timeout=0.05)
        await asyncio.gather(*(submitted(here) for _ in waiting))
        async with asyncio.timeout(PATIENCE):
            got = await asyncio.gather(*waiting)
        assert sorted(len(leases) for leases in got) == [1, 1, 1, 1]
        assert len({leases[0].id for leases in got}) == 4

    async def test_woken_when_a_job_falls_due(self, broker: Broker, clock: Clock) -> None:
        """The claim sleeps until just then: here time is turned on while it sleeps, and nobody rings."""
        await submitted(broker, "later", run_at=START + 60)
        await submitted(broker, "soon", run_at=START + 0.2)
        waiting = asyncio.create_task(claims(broker, wait=60))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        clock.advance(0.2)
        async with asyncio.timeout(PATIENCE):
            (lease,) = await waiting
        assert lease.id == "soon"

    async def test_woken_when_a_lease_lapses(self, connect: Connect, clock: Clock) -> None:
        """As above: nobody tells of a worker that has died."""
        broker = await connect(lease=0.2)
        await leased(broker, "a")
        waiting = asyncio.create_task(claims(broker, wait=60))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        clock.advance(0.2)
        async with asyncio.timeout(PATIENCE):
            (again,) = await waiting
        assert (again.id, again.job.attempt) == ("a", 2)

    async def test_woken_by_a_release(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        (again,) = await woken(broker, lambda: broker.settle(lease, Released()))
        assert (again.id, again.job.attempt) == ("a", 2)

    async def test_woken_by_a_retry_that_is_due_at_once(self, broker: Broker) -> None:
        lease = await leased(broker, "a", retry=Retry(max_attempts=2, delay=0))
        (again,) = await woken(broker, lambda: broker.settle(lease, Failed(cause=Cause.EXIT, error="exit code 1")))
        assert again.job.retries_used == 1

    @needs("pause")
    async def test_woken_when_a_queue_goes_on(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        await here.set_queue("default", QueueSettings(paused=True))
        await submitted(here, "a")
        (lease,) = await woken(here, lambda: there.set_queue("default", QueueSettings(paused=False)))
        assert lease.id == "a"

    @needs("limits")
    async def test_woken_when_a_key_comes_free_in_another_queue(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        limit = KeyLimit(key="shop.example", concurrency=1)
        lease = await leased(there, "a", queue="one", limit=limit)
        await submitted(there, "b", queue="two", limit=limit)
        (next_one,) = await woken(here, lambda: there.settle(lease, Completed(result="1")), queues=["two"])
        assert next_one.id == "b"

    @needs("limits")
    async def test_woken_when_a_rate_allows_the_next(self, broker: Broker, clock: Clock) -> None:
        limit = KeyLimit(key="k", count=1, period=0.2)
        await leased(broker, "a", limit=limit)
        await submitted(broker, "b", limit=limit)
        waiting = asyncio.create_task(claims(broker, wait=60))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        clock.advance(0.2)
        async with asyncio.timeout(PATIENCE):
            (lease,) = await waiting
        assert lease.id == "b"

    async def test_a_claim_that_is_given_up_takes_nothing(self, broker: Broker) -> None:
        waiting = asyncio.create_task(claims(broker, wait=60))
        await asyncio.wait([waiting], timeout=0.02)
        waiting.cancel()
        await asyncio.wait([waiting])
        await submitted(broker, "a")
        assert (await broker.get("a")).state is State.PENDING

    @pytest.mark.parametrize("turns", range(8))
    async def test_a_claim_given_up_at_any_moment_leaves_the_job_to_others(self, broker: Broker, turns: int) -> None:
        """However far it had come: what it took it hands back."""
        await submitted(broker, "a")
        waiting = asyncio.create_task(claims(broker, wait=60))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        (got,) = await asyncio.gather(waiting, return_exceptions=True)
        if isinstance(got, asyncio.CancelledError):
            (lease,) = await claims(broker)
            assert lease.id == "a"
        else:
            assert [lease.id for lease in got] == ["a"]

    @needs("find")
    async def test_a_waiting_claim_changes_nothing(self, broker: Broker) -> None:
        await submitted(broker, "a", queue="other")
        before = await broker.position()
        assert await claims(broker, wait=0.02) == []
        assert await broker.position() == before
        assert [job.id for job in (await broker.find(Query())).jobs] == ["a"]
