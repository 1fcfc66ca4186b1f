"""The verbs over a store, at the moments that are hard to meet from outside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.store import Claim, Taken
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import Query, Record, State
from pumasi.core.outcome import Completed
from pumasi.errors import Unavailable
from tests.broker.conformance.base import MIB, START, Clock, claims, leased, submitted


class Held(MemoryStore):
    """A store that can be made to keep its answers, and counts what it is asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.takes = 0
        self.answered = asyncio.Event()
        self.answered.set()
        self.after_scan: Callable[[], Any] = lambda: None
        self.fails = False

    async def take(self, claim: Claim) -> Taken:
        self.takes += 1
        taken = await super().take(claim)
        await self.answered.wait()
        if self.fails:
            raise Unavailable
        return taken

    async def scan(self, query: Query) -> Any:
        page = await super().scan(query)
        self.after_scan()
        return page

    async def read(self, id: str, after: int, limit: int) -> Any:
        records = await super().read(id, after, limit)
        self.after_scan()
        return records


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(clock: Clock) -> Held:
    return Held(clock)


@pytest.fixture
async def broker(store: Held) -> AsyncIterator[StoreBroker]:
    async with StoreBroker(store, Bell(), url="memory://") as broker:
        yield broker


async def given_up(broker: StoreBroker, store: Held, **values: Any) -> None:
    """A claim that is given up after the store has taken, and before it has answered."""
    store.answered.clear()
    claiming = asyncio.ensure_future(claims(broker, **values))
    before = store.takes
    while store.takes == before:
        await asyncio.sleep(0)
    claiming.cancel()
    await asyncio.sleep(0)
    store.answered.set()
    with pytest.raises(asyncio.CancelledError):
        await claiming


async def test_a_claim_given_up_in_the_midst_hands_back_what_it_took(broker: StoreBroker, store: Held) -> None:
    await submitted(broker, "a")
    await given_up(broker, store, slots=4)
    job = await broker.get("a")
    assert (job.state, job.attempt, job.retries_used) == (State.PENDING, 1, 0)
    assert [lease.id for lease in await claims(broker)] == ["a"]


async def test_what_an_earlier_answer_gave_is_not_handed_back(broker: StoreBroker, store: Held) -> None:
    await submitted(broker, "a")
    (lease,) = await claims(broker, claim_id="c1")
    await given_up(broker, store, claim_id="c1")
    assert (await broker.settle(lease, Completed(result="1"))).state is State.COMPLETED


async def test_a_claim_given_up_while_the_store_fails(broker: StoreBroker, store: Held) -> None:
    store.fails = True
    await given_up(broker, store)


async def test_a_waiting_claim_beside_a_lost_run_that_does_not_fit_does_not_hurry(
    broker: StoreBroker, store: Held, clock: Clock
) -> None:
    await leased(broker, "a", required_memory=500 * MIB)
    clock.advance(31)
    store.takes = 0
    assert await claims(broker, wait=0.1, memory=100 * MIB) == []
    assert store.takes <= 3


async def test_a_change_between_looking_and_waiting_is_not_missed(broker: StoreBroker, store: Held) -> None:
    """The ring falls after the watcher has looked and before it waits."""
    events = broker.watch(Query())
    position = await broker.position()

    def meanwhile() -> None:
        store.after_scan = lambda: None
        store._put(store._jobs["a"])
        broker.bell.ring("changes")

    await submitted(broker, "a")
    events = broker.watch(Query(), after=position + 1)
    store.after_scan = meanwhile
    async with asyncio.timeout(1):  # looking again by itself would take 2 s
        assert (await anext(events)).job.id == "a"
    await events.aclose()


async def test_a_line_between_looking_and_waiting_is_not_missed(broker: StoreBroker, store: Held) -> None:
    lease = await leased(broker, "a")
    lines = broker.follow("a")

    def meanwhile() -> None:
        store.after_scan = lambda: None
        store._logs["a"].append(Record(1, START, "stdout", b"line"))
        broker.bell.ring("log:a")

    store.after_scan = meanwhile
    async with asyncio.timeout(1):
        assert (await anext(lines)).data == b"line"
    await lines.aclose()
    await broker.settle(lease, Completed(result="1"))
