"""A broker whose jobs' blobs lie in a place keeps the law all the same."""

import itertools
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.places import place as from_url
from pumasi.broker.places.base import Place
from pumasi.broker.verbs import StoreBroker
from tests.blobs.turned import TurnedPlace
from tests.broker.conformance import Backend, Clock
from tests.broker.conformance.blobs import Blobs
from tests.broker.conformance.sweep import Sweep
from tests.servers.s3 import shared

_numbers = itertools.count()
#: one store, and one place, for all handles under one clock
_stores: weakref.WeakKeyDictionary[Clock, tuple[MemoryStore, Bell, str, dict[str, float]]] = weakref.WeakKeyDictionary()


def backend(clock: Clock, url: Callable[[], str]) -> Backend:
    """Handles on the store and the place of that clock."""

    def handle(**settings: float) -> StoreBroker:
        store, bell, where, written = _stores.setdefault(clock, (MemoryStore(clock), Bell(), url(), {}))
        place: Place = TurnedPlace(from_url(where), clock, written)
        return StoreBroker(store, bell, url="memory://", place=place, **settings)

    return Backend(clock, handle)


class TestInAFolder(Blobs, Sweep):
    @pytest.fixture
    def backend(self, clock: Clock, tmp_path: Path) -> Backend:
        return backend(clock, lambda: f"file://{tmp_path}/blobs")


class TestInABucket(Blobs, Sweep):
    @pytest.fixture
    def backend(self, clock: Clock) -> Backend:
        return backend(clock, lambda: shared().place(f"law/{next(_numbers)}"))
