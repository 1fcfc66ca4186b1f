"""The MongoDB broker keeps the law."""

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.mongodb import Connection, MongoBell, MongoStore, parsed
from pumasi.broker.mongodb.times import Clock as Server
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance
from tests.broker.conformance.base import Connect
from tests.broker.state_machine import state_machine
from tests.servers.mongodb import Databases, mongo_databases, mongo_server, mongo_url

__all__ = ["mongo_databases", "mongo_server", "mongo_url"]


class DeafBell(Bell):
    """One that hears no ring of another handle."""

    alive = False


#: where the state machine finds its server
_server: list[Databases] = []


def handle(clock: Clock, url: str, *, deaf: bool = False, **settings: float) -> StoreBroker:
    """A handle on the database at that URL, with connections and a bell of its own."""
    address, _ = parsed(url)
    connection = Connection(address, Server(clock))
    bell = DeafBell() if deaf else MongoBell(connection)
    return StoreBroker(MongoStore(connection), bell, url=address.url, **settings)


class TestMongo(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock, mongo_url: str) -> Backend:
        return Backend(clock, lambda **settings: handle(clock, mongo_url, **settings))


class TestMongoDeaf(Conformance):
    """Losing every notification costs latency, never a job."""

    @pytest.fixture
    def backend(self, clock: Clock, mongo_url: str) -> Backend:
        return Backend(clock, lambda **settings: handle(clock, mongo_url, deaf=True, **settings))

    async def test_a_hint_ends_with_a_ring_or_its_time(self, connect: Connect) -> None:
        """Here it ends with its time alone."""
        broker = await connect()
        assert not await broker.hint("queue:default", timeout=0.02)


@pytest.fixture(scope="class", autouse=True)
def _databases(mongo_databases: Databases):
    _server.append(mongo_databases)
    yield
    _server.pop()


#: by the folder of an example, its database
_urls: dict[str, str] = {}


def example(clock: Clock, folder: str) -> StoreBroker:
    """A handle on the database of an example."""
    if folder not in _urls:
        _urls[folder] = _server[-1].fresh()
    return handle(clock, _urls[folder])


TestMongoMachine = state_machine(example, examples=10)
