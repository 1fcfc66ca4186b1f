"""The memory broker keeps the law."""

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance


class TestMemory(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock) -> Backend:
        store, bell = MemoryStore(clock), Bell()
        return Backend(clock, lambda **settings: StoreBroker(store, bell, url="memory://", **settings))
