"""The Redis broker keeps the law."""

import asyncio
import itertools
import os
import weakref

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.redis import RedisBell, RedisStore, Server
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance
from tests.broker.conformance.base import Connect, submitted
from tests.broker.state_machine import state_machine
from tests.servers.redis import address, shared

_prefixes: weakref.WeakKeyDictionary[Clock, str] = weakref.WeakKeyDictionary()
_numbers = itertools.count()


class DeafBell(Bell):
    """One that hears no ring of another handle."""

    alive = False


def handle(clock: Clock, *, deaf: bool = False, **settings: float) -> StoreBroker:
    """A handle with connections of its own on the keys that belong to that clock."""
    prefix = _prefixes.setdefault(clock, f"test-{os.getpid()}-{next(_numbers)}")
    server = Server(address(shared(), prefix), clock)
    bell = DeafBell() if deaf else RedisBell(server)
    return StoreBroker(RedisStore(server), bell, url=server.address.url, **settings)


class TestRedis(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock) -> Backend:
        return Backend(clock, lambda **settings: handle(clock, **settings))


class TestRedisDeaf(Conformance):
    """Losing every notification costs latency, never a job."""

    @pytest.fixture
    def backend(self, clock: Clock) -> Backend:
        return Backend(clock, lambda **settings: handle(clock, deaf=True, **settings))

    async def test_a_hint_ends_with_a_ring_or_its_time(self, connect: Connect) -> None:
        """Here it ends with its time, or with a ring of its own."""
        broker = await connect()
        assert not await broker.hint("queue:default", timeout=0.02)
        hint = asyncio.create_task(broker.hint("queue:default", timeout=60))
        await asyncio.wait([hint], timeout=0.05)
        await submitted(broker)
        assert await asyncio.wait_for(hint, 5)


TestRedisMachine = state_machine(lambda clock, _: handle(clock), examples=25)
