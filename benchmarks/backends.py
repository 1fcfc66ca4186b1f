"""The servers that brokers are measured on: private ones, with nothing of anybody else's in them."""

import itertools
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import psycopg
import pytest
from pymongo import MongoClient

from tests.servers import Server
from tests.servers.mongodb import MongoServer
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

#: more jobs wait here than a queue holds unless told otherwise
MAX_PENDING = 5_000_000


class Backend(ABC):
    """A kind of store, up and empty; each `url` of it is a place that nobody has used."""

    name: ClassVar[str]
    #: its server's, where it has one
    port: int | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        """Up, and answering."""
        self._folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    async def stop(self) -> None:
        """Down; also when it never came up."""

    @abstractmethod
    def url(self) -> str:
        """The URL of a fresh place in it."""

    def operations(self) -> float | None:
        """What its server has been asked so far, as the server counts; None where nobody counts."""
        return None


class Sqlite(Backend):
    """A file, as durable as anybody has it."""

    name = "sqlite"

    async def stop(self) -> None:
        pass

    def url(self) -> str:
        return f"sqlite:///{self._folder / f'{next(self._numbers)}.db'}?max_pending={MAX_PENDING}"


class _Served(Backend):
    """One that is a server."""

    server: Server

    async def stop(self) -> None:
        if hasattr(self, "server"):
            self.server.stop()

    @abstractmethod
    def make(self) -> Server:
        """The server, not yet started."""

    async def start(self) -> None:
        await super().start()
        self.server = self.make()
        self.server.start()
        self.port = self.server.port


class Redis(_Served):
    """Redis that keeps nothing on disk, as it is for the other queues."""

    name = "redis"

    def make(self) -> Server:
        return RedisServer(self._folder / "redis")

    def url(self) -> str:
        return f"{self.server.url}/0?prefix=p{next(self._numbers)}&max_pending={MAX_PENDING}"

    def operations(self) -> float | None:
        """Commands that came from clients; what scripts call inside the server comes from none."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=10) as connection:
            connection.sendall(b"INFO commandstats\r\nQUIT\r\n")
            said = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        lines = [line.removeprefix("cmdstat_").partition(":") for line in said.splitlines() if "calls=" in line]
        calls = {name: int(rest.partition("calls=")[2].partition(",")[0]) for name, _, rest in lines}
        return sum(calls.get(name, 0) for name in ("evalsha", "eval", "publish", "subscribe", "ping", "script|load"))


class DurableRedis(Redis):
    """Redis with each write on its disk before it answers."""

    name = "redis, on disk"

    def make(self) -> Server:
        return RedisServer(self._folder / "redis", durable=True)


class Postgres(_Served):
    """PostgreSQL as it comes: what is committed survives."""

    name = "postgresql"

    def make(self) -> Server:
        return PostgresServer(self._folder / "postgres", durable=True, shared_buffers="256MB", max_connections="300")

    def url(self) -> str:
        return f"{self.server.url}?schema=s{next(self._numbers)}&max_pending={MAX_PENDING}"

    def operations(self) -> float | None:
        """Transactions of the database, this one left out by the time it is counted."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        return float(found[0]) if found else None


class Mongo(_Served):
    """What speaks MongoDB's protocol."""

    name = "mongodb"

    def make(self) -> Server:
        return MongoServer(self._folder / "mongodb")

    def url(self) -> str:
        return f"{self.server.url}/p{next(self._numbers)}?max_pending={MAX_PENDING}"

    async def start(self) -> None:
        await super().start()
        MongoClient(self.server.url).close()


KINDS: dict[str, type[Backend]] = {kind.name: kind for kind in (Redis, DurableRedis, Postgres, Sqlite, Mongo)}
HEADINGS = {"redis": "Redis", "redis, on disk": "Redis,\non disk", "postgresql": "PostgreSQL", "sqlite": "SQLite",
            "mongodb": "MongoDB"}  # fmt: skip


def missing(name: str) -> str | None:
    """Why a kind cannot be measured here, or None."""
    if name.startswith("redis") and shutil.which("redis-server") is None:
        return "redis-server is not installed (apt-get install redis-server)"
    if name == "postgresql":
        from tests.servers.postgres import binary

        try:
            binary("postgres")
        except (pytest.skip.Exception, pytest.fail.Exception):
            return "PostgreSQL is not installed (apt-get install postgresql)"
    return None


def chosen(names: Sequence[str], default: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those that can be measured of those that are asked for, and what is to be said of the rest."""
    asked = list(names or default)
    found = {name: missing(name) for name in asked}
    return [name for name in asked if not found[name]], [f"{name}: {why}" for name, why in found.items() if why]
