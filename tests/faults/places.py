"""The stores that faults are done to: a real server each, and a bad network in front of it; or a file."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from tests.servers import Server
from tests.servers.mongodb import MongoServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

#: jobs that a test submits at once
BATCH = 10


class Kind(Struct, frozen=True):
    """A backend that is a server."""

    #: one that keeps what it has acknowledged, in a folder
    server: Callable[[Path], Server]
    #: how a URL of it names a space of its own: the URL, and its options
    space: Callable[[Any, str], tuple[str, dict[str, str]]]
    batch: int = BATCH


SERVERS = {
    "redis": Kind(
        lambda folder: RedisServer(folder, durable=True),
        lambda server, name: (server.url, {"prefix": name}),
    ),
    "postgres": Kind(
        lambda folder: PostgresServer(folder, durable=True),
        lambda server, name: (server.url, {"schema": name}),
    ),
    # a batch takes several steps there, and one that is cut short holds its jobs for half a minute
    "mongodb": Kind(MongoServer, lambda server, name: (f"{server.url}/{name}", {}), batch=1),
}
BACKENDS = ("sqlite", *SERVERS)


class Place:
    """A store in a space of its own: where it is, straight and through the bad network."""

    def __init__(
        self, backend: str, url: str, options: dict[str, str], server: Server | None = None, proxy: Proxy | None = None
    ) -> None:
        self.backend = backend
        self._url = url
        self._options = options
        self._server = server
        self._proxy = proxy

    @property
    def server(self) -> Server:
        """Its server. A file has none."""
        assert self._server is not None
        return self._server

    @property
    def proxy(self) -> Proxy:
        """The network in front of it. A file has none."""
        assert self._proxy is not None
        return self._proxy

    @property
    def has_server(self) -> bool:
        """Whether it is a server, not a file."""
        return self._server is not None

    @property
    def file(self) -> Path:
        """The file it is."""
        return Path(self._url.removeprefix("sqlite:///"))

    def url(self, **options: float) -> str:
        """Straight to it."""
        query = urlencode(self._options | {name: str(value) for name, value in options.items()})
        return f"{self._url}?{query}"

    def far(self, **options: float) -> str:
        """Through the bad network; a file is never far."""
        return self.url(**options) if self._proxy is None else self._proxy.url(self.url(**options))


@contextlib.contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder for servers: one of another user finds what is in it, unlike in a folder of pytest's."""
    with tempfile.TemporaryDirectory(prefix="pumasi-faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def batch_of(backend: str) -> int:
    """How many jobs a test submits at once, where it is not about that."""
    return SERVERS[backend].batch if backend in SERVERS else BATCH


def server_of(backend: str, folder: Path) -> Server | None:
    """A server of that kind, not started; it keeps what it has acknowledged. None: it is a file."""
    return SERVERS[backend].server(folder) if backend in SERVERS else None


@contextlib.contextmanager
def place(backend: str, server: Server | None, folder: Path, name: str) -> Iterator[Place]:
    """A space of that name on a server that runs, or in a folder."""
    if server is None:
        yield Place(backend, f"sqlite:///{folder}/{name}.db", {})
        return
    url, options = SERVERS[backend].space(server, name)
    with Proxy(server.port) as proxy:
        yield Place(backend, url, options, server, proxy)
