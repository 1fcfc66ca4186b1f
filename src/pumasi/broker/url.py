"""From a URL to a broker: the only importer of the backends.

`sqlite:///relative.db`, `sqlite:////absolute.db`, `memory://` (each its own), `memory://name` (shared in the process).
Options in the query: `lease` (seconds; below 30 only tests are safe), `max_pending`, `retention` (seconds).
"""

from urllib.parse import parse_qsl, urlsplit

from pumasi.broker.base import LEASE, MAX_PENDING, RETENTION, Broker
from pumasi.broker.bell import Bell, SocketBell
from pumasi.broker.store import StoreBroker
from pumasi.errors import Invalid

#: backends that are planned, by scheme
COMING = {
    "redis": "Redis", "rediss": "Redis", "amqp": "RabbitMQ", "amqps": "RabbitMQ", "mongodb": "MongoDB",
    "mongodb+srv": "MongoDB", "postgresql": "PostgreSQL", "postgres": "PostgreSQL",
}  # fmt: skip

_shared: dict[str, tuple[object, Bell]] = {}


def connect(url: str) -> Broker:
    """The broker behind a URL, not yet opened. Raises: Invalid (unknown scheme or option, a backend still to come)."""
    parts = urlsplit(url)
    if parts.scheme in COMING:
        raise Invalid(
            "the {name} backend does not exist yet; use sqlite:///FILE or memory://", name=COMING[parts.scheme]
        )
    options = _options(parts.query)
    if parts.scheme == "memory":
        return _memory(parts.netloc, options)
    if parts.scheme == "sqlite":
        return _sqlite(parts.netloc + parts.path, options)
    raise Invalid("{url!r} is no broker; use sqlite:///FILE or memory://", url=url)


def _memory(name: str, options: dict[str, float]) -> Broker:
    from pumasi.broker.memory import MemoryStore

    store, bell = _shared.setdefault(name, (MemoryStore(), Bell())) if name else (MemoryStore(), Bell())
    assert isinstance(store, MemoryStore)
    return StoreBroker(store, bell, url=f"memory://{name}", **_settings(options))


def _sqlite(path: str, options: dict[str, float]) -> Broker:
    from pumasi.broker.sqlite import SqliteStore

    file = path.removeprefix("/")
    if not file:
        raise Invalid("a SQLite URL names a file: sqlite:///pumasi.db, or sqlite:////var/lib/pumasi.db")
    return StoreBroker(SqliteStore(file), SocketBell(f"{file}.bell"), url=f"sqlite:///{file}", **_settings(options))


def _options(query: str) -> dict[str, float]:
    known = {"lease", "max_pending", "retention"}
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise Invalid(
                "a broker URL has no option {name!r}; there are {known}", name=name, known=", ".join(sorted(known))
            )
        try:
            options[name] = float(value)
        except ValueError:
            raise Invalid("option {name} of a broker URL is a number, not {value!r}", name=name, value=value) from None
    return options


def _settings(options: dict[str, float]) -> dict[str, float | int]:
    return {
        "lease": options.get("lease", LEASE),
        "max_pending": int(options.get("max_pending", MAX_PENDING)),
        "retention": options.get("retention", RETENTION),
    }
