"""What the cases share: a clock to turn, handles to open, jobs and leases in a word."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import pytest

from pumasi.broker.base import Broker
from pumasi.core.ids import new_id
from pumasi.core.job import Job, Lease
from pumasi.core.outcome import Completed, Outcome
from pumasi.errors import Invalid

#: what a backend may be unable to do; it then refuses with Invalid
EVERYTHING = frozenset(
    {
        "find",  # find, watch, stats
        "unique",  # unique and idempotency keys
        "pause",  # pausing a queue, bounding one
        "limits",  # limits by key
        "memory",  # admission by required memory
        "order",  # ageing and fair queues
        "log",  # records of runs
        "blobs",
    }
)
START = 1_700_000_000.0
MIB = 1024 * 1024


class Clock:
    """The broker's time, turned by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Backend:
    """A store under test: `connect` gives a handle on it, not yet opened, as another process would have one."""

    def __init__(self, clock: Clock, connect: Callable[..., Broker]) -> None:
        self.clock = clock
        self.connect = connect


Connect = Callable[..., Awaitable[Broker]]


class Case:
    """A topic of the law; `backend` comes from the backend's own class."""

    capabilities: ClassVar[frozenset[str]] = EVERYTHING

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    async def connect(self, backend: Backend) -> AsyncIterator[Connect]:
        """Opens a handle; all are closed at the end."""
        opened: list[Broker] = []

        async def connected(**settings: Any) -> Broker:
            broker = backend.connect(**settings)
            await broker.open()
            opened.append(broker)
            return broker

        yield connected
        for broker in opened:
            await broker.close()

    @pytest.fixture
    async def broker(self, connect: Connect) -> Broker:
        return await connect()


def needs(*capabilities: str) -> Callable[[Any], Any]:
    """A case of what not every backend can do: one that cannot refuses with Invalid."""

    def decorate(case: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(case)
        async def either(self: Case, *args: Any, **values: Any) -> None:
            if self.capabilities.issuperset(capabilities):
                await case(self, *args, **values)
                return
            with pytest.raises(Invalid):
                await case(self, *args, **values)

        return either

    return decorate


def a_job(id: str | None = None, **values: Any) -> Job:
    """A job that asks for little."""
    return Job(id=id or new_id(), **({"script": "catalogue"} | values))


async def submitted(broker: Broker, id: str | None = None, **values: Any) -> Job:
    """A job, submitted."""
    (job,) = await broker.submit([a_job(id, **values)])
    return job


async def claims(broker: Broker, slots: int = 1, **values: Any) -> list[Lease]:
    """What a claim gives at once."""
    asked: dict[str, Any] = {
        "worker": "w1",
        "queues": ["default"],
        "slots": slots,
        "memory": 1 << 50,
        "wait": 0,
    } | values
    return await broker.claim(**asked)


async def ids_of_claim(broker: Broker, slots: int = 1, **values: Any) -> list[str]:
    """The ids of what a claim gives at once."""
    return [lease.id for lease in await claims(broker, slots, **values)]


async def leased(broker: Broker, id: str | None = None, **values: Any) -> Lease:
    """A job, submitted and claimed; nothing else may be waiting in its queue."""
    job = await submitted(broker, id, **values)
    (lease,) = await claims(broker, queues=[job.queue])
    assert lease.id == job.id
    return lease


async def ended(broker: Broker, id: str | None = None, outcome: Outcome | None = None, **values: Any) -> Job:
    """A job that has run."""
    lease = await leased(broker, id, **values)
    return await broker.settle(lease, outcome or Completed(result="1"))
