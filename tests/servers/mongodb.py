"""A server that speaks MongoDB's protocol: nx-27017, on SQLite; or the real one that `TEST_MONGODB_URI` names.

It keeps to the protocol as far as single documents go; it has no transactions, no elections, and no pipelines in
updates. Each test has a database of its own in it.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pymongo import MongoClient

from pumasi.core.ids import new_token
from tests.servers import Server, accepts, missing

#: a real server to test against
URI = "TEST_MONGODB_URI"
_PROGRAM = Path(sys.executable).with_name("nx-27017")


class MongoServer(Server):
    """The emulator; what it has acknowledged survives its end, whether asked to be `durable` or not."""

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        super().__init__(folder)

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        if not _PROGRAM.exists():
            missing("nx-27017", "pip install nx-27017")
        with contextlib.suppress(FileNotFoundError):  # of one that was killed
            os.unlink(self.folder / "nx.pid")
        return [
            str(_PROGRAM), "--data-dir", str(self.folder / "db"), "--host", "127.0.0.1", "-p", str(self.port),
            "--log-file", str(self.folder / "nx.log"), "--pid-file", str(self.folder / "nx.pid"),
        ]  # fmt: skip

    def answers(self) -> bool:
        return accepts(self.port)


class Databases:
    """Fresh databases of one server, and their URLs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: list[str] = []

    def fresh(self) -> str:
        """The URL of a new database."""
        name = f"pumasi-test-{new_token()[:12]}"
        self._made.append(name)
        return self.of(name)

    def of(self, name: str) -> str:
        """The URL of a database."""
        place, _, options = self._url.partition("?")
        scheme, _, hosts = place.partition("://")
        hosts = hosts.partition("/")[0]
        return f"{scheme}://{hosts}/{name}" + (f"?{options}" if options else "")

    def drop(self) -> None:
        """Remove what was made."""
        with MongoClient(self._url) as client:
            for name in self._made:
                client.drop_database(name)
        self._made.clear()


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[str]:
    """The URL of the server that all tests of this process share."""
    if url := os.environ.get(URI):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="pumasi-mongo-"))
    server = MongoServer(folder)
    server.start()
    yield server.url
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture(scope="class")
def mongo_databases(mongo_server: str) -> Iterator[Databases]:
    """Fresh databases, removed at the end of the class."""
    databases = Databases(mongo_server)
    yield databases
    databases.drop()


@pytest.fixture
def mongo_url(mongo_databases: Databases) -> str:
    """The URL of a database of the test's own."""
    return mongo_databases.fresh()
