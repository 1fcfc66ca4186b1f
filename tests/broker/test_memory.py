"""The memory broker keeps the law."""

import weakref

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance
from tests.broker.state_machine import state_machine

#: one store for all handles under one clock
_stores: weakref.WeakKeyDictionary[Clock, tuple[MemoryStore, Bell]] = weakref.WeakKeyDictionary()


def handle(clock: Clock, **settings: float) -> StoreBroker:
    """A handle on the store of that clock."""
    store, bell = _stores.setdefault(clock, (MemoryStore(clock), Bell()))
    return StoreBroker(store, bell, url="memory://", **settings)


class TestMemory(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock) -> Backend:
        return Backend(clock, lambda **settings: handle(clock, **settings))


TestMemoryMachine = state_machine(lambda clock, _: handle(clock))
