"""From a URL to a broker: the only importer of the backends.

`sqlite:///relative.db`, `sqlite:////absolute.db`, `memory://` (each its own), `memory://name` (shared in the process),
`postgresql://user:password@host/database` (`schema`: pumasi; what libpq knows, such as `sslmode`, is passed on),
`mongodb://user:password@host,host/database` (`job_db`; `collection`: jobs, where other programs put documents; what
MongoDB's drivers know, such as `replicaSet`, is passed on).
Options in the query: `lease` (seconds; below 30 only tests are safe), `max_pending`, `retention` (seconds an ended job
is kept), and for one kind of ending `retention_completed`, `retention_failed`, `retention_cancelled`.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from math import isfinite
from typing import Any
from urllib.parse import parse_qsl, unquote

from pumasi.broker.base import LEASE, MAX_PENDING, RETENTION, Broker
from pumasi.broker.bell import Bell, SocketBell
from pumasi.broker.places import place
from pumasi.broker.places.blobs import OutsideBlobs
from pumasi.broker.store import Store
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import ENDED
from pumasi.errors import Invalid

#: backends that are planned, by scheme
COMING = {
    "amqp": "RabbitMQ", "amqps": "RabbitMQ",
    "http": "task manager", "https": "task manager",
}  # fmt: skip

#: options of how long jobs are kept, by how they ended
KEPT = {f"retention_{state}": state for state in ENDED}
OPTIONS = {"lease", "max_pending", "retention", *KEPT}

_shared: dict[str, tuple[Store, Bell]] = {}


def connect(
    url: str, *, blobs: str | None = None, defaults: Mapping[str, float] | None = None, zone: tzinfo | None = None
) -> Broker:
    """The broker behind a URL, not yet opened.

    Args:
        blobs: the URL of a place for results, artifacts and logs; None: the store itself.
        defaults: options that hold where the URL names none.
        zone: in which other programs read and write times; None: the host's.

    Raises: Invalid (unknown scheme or option, a backend still to come, a driver that is not installed).
    """
    broker = _connected(url, {**(defaults or {})}, zone)
    if blobs:
        assert isinstance(broker, StoreBroker)
        broker.blobs = OutsideBlobs(broker.store, place(blobs))
        broker.store.fetch = broker.blobs.get
    return broker


def _connected(url: str, defaults: dict[str, float], zone: tzinfo | None) -> Broker:
    scheme, separator, rest = url.partition("://")
    if scheme in COMING:
        raise Invalid("the {name} backend does not exist yet; use sqlite:///FILE or memory://", name=COMING[scheme])
    path, _, query = rest.partition("?")
    if separator and scheme == "memory":
        return _memory(path, defaults | _options(query))
    if separator and scheme == "sqlite":
        return _sqlite(unquote(path), defaults | _options(query))
    if separator and re.fullmatch(r"(redis|rediss|valkey|valkeys)(\+[a-z]+)?|unix", scheme):
        return _redis(url, defaults, zone)
    if separator and scheme in ("postgresql", "postgres"):
        return _postgres(rest, defaults)
    if separator and scheme in ("mongodb", "mongodb+srv"):
        return _mongodb(url, defaults)
    # only the scheme is shown: what follows may hold a password
    name = f"{scheme}://…" if separator else url
    raise Invalid("{url!r} is no broker; use sqlite:///FILE or memory://", url=name)


def _memory(name: str, options: dict[str, float]) -> Broker:
    from pumasi.broker.memory import MemoryStore

    store, bell = _shared.setdefault(name, (MemoryStore(), Bell())) if name else (MemoryStore(), Bell())
    return _broker(store, bell, f"memory://{name}", options)


def _sqlite(path: str, options: dict[str, float]) -> Broker:
    from pumasi.broker.sqlite import SqliteStore

    file = path.removeprefix("/")
    if not file:
        raise Invalid("a SQLite URL names a file: sqlite:///pumasi.db, or sqlite:////var/lib/pumasi.db")
    return _broker(SqliteStore(file), SocketBell(f"{file}.bell"), f"sqlite:///{file}", options)


def _redis(url: str, defaults: dict[str, float], zone: tzinfo | None) -> Broker:
    with _driver("redis"):
        from pumasi.broker.redis import RedisBell, RedisStore, Server, parsed

    address, rest = parsed(url)
    server = Server(address, zone=zone)
    return _broker(RedisStore(server), RedisBell(server), address.url, defaults | _options(rest))


def _postgres(rest: str, defaults: dict[str, float]) -> Broker:
    with _driver("postgres"):
        from pumasi.broker.postgres import PostgresBell, PostgresStore, parsed

    target, others = parsed(rest)
    store = PostgresStore(target)
    return _broker(store, PostgresBell(store.pool), target.name, defaults | _options(others))


def _mongodb(url: str, defaults: dict[str, float]) -> Broker:
    with _driver("mongodb"):
        from pumasi.broker.mongodb import Connection, MongoBell, MongoStore, parsed

    address, others = parsed(url)
    connection = Connection(address)
    return _broker(MongoStore(connection), MongoBell(connection), address.url, defaults | _options(others))


async def create_job(broker: Broker, *values: Any) -> str:
    """As `broker.mongodb.create_job`. Raises: Invalid (another broker)."""
    if not broker.url.startswith("mongodb"):
        raise Invalid("create_job inserts a document into MongoDB; connect to a mongodb:// URL, or use submit")
    from pumasi.broker.mongodb import create_job as create

    return await create(broker, *values)


@contextlib.contextmanager
def _driver(extra: str) -> Iterator[None]:
    """Where a backend is imported: its driver is an extra, which may not be there."""
    try:
        yield
    except ImportError as error:
        text = "this broker needs a driver that is not installed: pip install 'pumasi[{extra}]'"
        raise Invalid(text, extra=extra) from error


def _options(query: str) -> dict[str, float]:
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            raise Invalid(
                "a broker URL has no option {name!r}; there are {known}", name=name, known=", ".join(sorted(OPTIONS))
            )
        options[name] = _number(name, value)
    return options


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0 or (name == "lease" and number == 0):
        raise Invalid("option {name} of a broker URL is a number above 0, not {value!r}", name=name, value=value)
    return number


def _broker(store: Store, bell: Bell, url: str, options: dict[str, float]) -> Broker:
    return StoreBroker(
        store,
        bell,
        url=url,
        lease=options.get("lease", LEASE),
        max_pending=int(options.get("max_pending", MAX_PENDING)),
        retention=options.get("retention", RETENTION),
        retentions={state: options[name] for name, state in KEPT.items() if name in options},
    )
