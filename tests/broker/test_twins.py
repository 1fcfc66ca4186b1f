"""SQLite against memory: the same steps on both must be seen alike by everybody.

The memory store looks at every job each time; the SQLite store keeps lanes, tallies and indexes instead. Here the two
are led through the same random steps, keyed limits, pauses, memory and all, and compared after each.
"""

import asyncio
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.sqlite import SqliteStore
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import Cause, Held, Job, KeyLimit, Lease, Query, QueueSettings, Retry, State, Worker
from pumasi.core.outcome import Completed, Failed, Released
from pumasi.errors import Error
from tests.broker.conformance.base import Clock

LIMITS = [
    None,
    None,
    KeyLimit(key="a", concurrency=1),
    KeyLimit(key="a", concurrency=2),
    KeyLimit(key="a", count=2, period=10),
    KeyLimit(key="b", concurrency=2, count=3, period=20),
    KeyLimit(key="b", count=1, period=5),
]
OUTCOMES = [Completed(result="1"), Released(), Failed(cause=Cause.EXIT, error="x"), Released(reason="sandbox")]


class Twins(RuleBasedStateMachine):
    """Two brokers, one clock."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        stores = [MemoryStore(self.clock), SqliteStore(f"{self.folder.name}/pumasi.db", self.clock)]
        self.brokers = [StoreBroker(store, Bell(), url="", max_pending=6, chance=lambda: 0.5) for store in stores]
        for broker in self.brokers:
            self.runner.run(broker.open())
        self.made = 0
        self.held: list[tuple[Lease, Lease]] = []

    def teardown(self) -> None:
        for broker in self.brokers:
            self.runner.run(broker.close())
        self.runner.close()
        self.folder.cleanup()

    def both(self, verb: str, *values: Any, each: list[list[Any]] | None = None) -> list[Any]:
        """What the two answer to the same; an error of ours is an answer."""

        async def one(broker: StoreBroker, asked: list[Any]) -> Any:
            try:
                return await getattr(broker, verb)(*asked)
            except Error as error:
                return type(error).__name__, error.details.get("id"), error.details.get("queue")

        asked = each or [list(values)] * 2
        return [self.runner.run(one(broker, mine)) for broker, mine in zip(self.brokers, asked, strict=True)]

    @rule(
        queue=st.sampled_from("pq"),
        priority=st.integers(0, 1),
        delay=st.sampled_from([-1, 0, 0, 4, 25]),
        expires=st.sampled_from([None, None, 3, 30]),
        size=st.integers(1, 3),
        limit=st.sampled_from(LIMITS),
        unique=st.sampled_from([None, None, None, "u"]),
        body=st.sampled_from("xxy"),
        share=st.sampled_from(["", "", "a", "b"]),
        n=st.integers(1, 3),
    )
    def submit(self, queue: str, priority: int, delay: float, expires: Any, size: int, limit: Any, unique: Any,
               body: str, share: str, n: int) -> None:  # fmt: skip
        now = self.clock.now
        jobs = [
            Job(
                id=f"j{self.made + i:03}", script="s", queue=queue, priority=priority, run_at=now + delay,
                expires_at=None if expires is None else now + expires, required_memory=size, limit=limit,
                share=share, unique=unique, body_hash=body, retry=Retry(max_attempts=2, delay=6), labels={"body": body},
                on_lost="fail" if size == 2 else "retry",
            )
            for i in range(n)
        ]  # fmt: skip
        self.made += n
        left, right = self.both("submit", jobs)
        assert self.told(left) == self.told(right)

    @rule(
        queues=st.sampled_from([["p"], ["q"], ["p", "q"], ["q", "p"]]),
        slots=st.integers(1, 4),
        memory=st.sampled_from([1, 2, 4, 100]),
        worker=st.sampled_from(["w1", "w2"]),
    )
    def claim(self, queues: list[str], slots: int, memory: int, worker: str) -> None:
        left, right = self.both("claim", worker, queues, slots, memory, 0)
        assert [lease.id for lease in left] == [lease.id for lease in right]
        assert [lease.expires_in for lease in left] == [lease.expires_in for lease in right]
        self.held += zip(left, right, strict=True)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 9), outcome=st.sampled_from(OUTCOMES))
    def settle(self, pick: int, outcome: Any) -> None:
        left, right = self.held[pick % len(self.held)]
        answers = self.both("settle", each=[[left, outcome], [right, outcome]])
        assert self.told(answers[:1]) == self.told(answers[1:])

    @precondition(lambda self: self.held)
    @rule(started=st.booleans(), few=st.booleans())
    def heartbeat(self, started: bool, few: bool) -> None:
        pairs = self.held[-2:] if few else self.held
        each = [
            [Worker(id="w1"), [Held(pair[side].id, pair[side].token, started) for pair in pairs]] for side in (0, 1)
        ]
        left, right = self.both("heartbeat", each=each)
        assert [(stop.id, stop.reason) for stop in left] == [(stop.id, stop.reason) for stop in right]

    @precondition(lambda self: self.made)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        answers = self.both("cancel", f"j{pick % self.made:03}")
        assert self.told(answers[:1]) == self.told(answers[1:])

    @precondition(lambda self: self.made)
    @rule(pick=st.integers(0, 99), how=st.sampled_from(["requeued", "discarded"]))
    def resolve(self, pick: int, how: str) -> None:
        answers = self.both("resolve", f"j{pick % self.made:03}", how)
        assert self.told(answers[:1]) == self.told(answers[1:])

    @rule(queue=st.sampled_from("pq"), paused=st.booleans(), bound=st.sampled_from([None, 1, 4]))
    def set_queue(self, queue: str, paused: bool, bound: int | None) -> None:
        left, right = self.both("set_queue", queue, QueueSettings(paused=paused, max_pending=bound))
        assert left == right

    @rule(queue=st.sampled_from("pq"), ageing=st.sampled_from([None, 3.0, 20.0]), fair=st.booleans())
    def order_queue(self, queue: str, ageing: float | None, fair: bool) -> None:
        left, right = self.both("set_queue", queue, QueueSettings(ageing=ageing, fair=fair))
        assert left == right

    @rule(limit=st.sampled_from([limit for limit in LIMITS if limit]), n=st.integers(1, 2))
    def acquire(self, limit: KeyLimit, n: int) -> None:
        left, right = self.both("acquire", limit, n)
        assert left == right

    @rule(seconds=st.sampled_from([1, 5, 31]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        left, right = self.both("sweep")
        assert left == right

    @rule()
    def a_day_passes(self) -> None:
        self.clock.advance(25 * 3600)
        self.sweep()

    @invariant()
    def all_is_alike(self) -> None:
        everything = [
            Query(limit=500),
            Query(queue="p", states=(State.PENDING, State.RUNNING)),
            Query(labels={"body": "y"}),
            Query(dead=True),
            Query(dead=True, queue="q", states=(State.PENDING, State.FAILED)),
        ]
        for query in everything:
            left, right = self.both("find", query)
            assert self.told(left.jobs) == self.told(right.jobs)
            assert left.totals == right.totals
        left, right = self.both("stats")
        assert left == right

    @staticmethod
    def told(jobs: Any) -> Any:
        """Records without what chance has made."""
        return [replace(job, token=None, claim_id=None) if isinstance(job, Job) else job for job in jobs]


TestTwins = Twins.TestCase
TestTwins.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestTwins.pytestmark = [pytest.mark.timeout(600)]
