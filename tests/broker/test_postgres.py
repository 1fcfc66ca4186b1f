"""The PostgreSQL broker keeps the law, with and without notifications."""

from collections.abc import Iterator

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.postgres import PostgresBell, PostgresStore, parsed
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance
from tests.broker.conformance.base import Connect
from tests.broker.state_machine import state_machine
from tests.servers.postgres import fresh_url, postgres_url

__all__ = ["postgres_url"]

_schemas: dict[str, str] = {}


class DeafBell(Bell):
    """Nobody hears it: whoever waits must look again by themselves."""

    @property
    def alive(self) -> bool:
        return False

    def ring(self, *topics: str) -> None:
        pass


def handle(clock: Clock, url: str, *, deaf: bool = False, **settings: float) -> StoreBroker:
    """A handle on the schema of that URL, with connections and a bell of its own."""
    target, _ = parsed(url.partition("://")[2])
    store = PostgresStore(target, clock)
    return StoreBroker(store, DeafBell() if deaf else PostgresBell(store.pool), url=store.target.name, **settings)


class TestPostgres(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock, postgres_url: str) -> Iterator[Backend]:
        yield Backend(clock, lambda **settings: handle(clock, postgres_url, **settings))


class TestPostgresWithoutNotifications(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock, postgres_url: str) -> Iterator[Backend]:
        yield Backend(clock, lambda **settings: handle(clock, postgres_url, deaf=True, **settings))

    async def test_a_hint_ends_with_a_ring_or_its_time(self, connect: Connect) -> None:
        """Here it ends with its time alone."""
        broker = await connect()
        assert not await broker.hint("queue:default", timeout=0.02)


def of_folder(clock: Clock, folder: str) -> StoreBroker:
    """A handle on the schema that belongs to a folder."""
    return handle(clock, _schemas.setdefault(folder, fresh_url()))


TestPostgresMachine = state_machine(of_folder, examples=25)
