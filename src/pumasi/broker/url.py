"""From a URL to a broker: the only importer of the backends.

`sqlite:///relative.db`, `sqlite:////absolute.db`, `memory://` (each its own), `memory://name` (shared in the process).
Options in the query: `lease` (seconds; below 30 only tests are safe), `max_pending`, `retention` (seconds).
"""

from math import isfinite
from urllib.parse import parse_qsl, unquote

from pumasi.broker.base import LEASE, MAX_PENDING, RETENTION, Broker
from pumasi.broker.bell import Bell, SocketBell
from pumasi.broker.store import Store
from pumasi.broker.verbs import StoreBroker
from pumasi.errors import Invalid

#: backends that are planned, by scheme
COMING = {
    "redis": "Redis", "rediss": "Redis", "amqp": "RabbitMQ", "amqps": "RabbitMQ", "mongodb": "MongoDB",
    "mongodb+srv": "MongoDB", "postgresql": "PostgreSQL", "postgres": "PostgreSQL",
    "http": "task manager", "https": "task manager",
}  # fmt: skip

_shared: dict[str, tuple[Store, Bell]] = {}


def connect(url: str) -> Broker:
    """The broker behind a URL, not yet opened. Raises: Invalid (unknown scheme or option, a backend still to come)."""
    scheme, separator, rest = url.partition("://")
    if scheme in COMING:
        raise Invalid("the {name} backend does not exist yet; use sqlite:///FILE or memory://", name=COMING[scheme])
    place, _, query = rest.partition("?")
    if separator and scheme == "memory":
        return _memory(place, _options(query))
    if separator and scheme == "sqlite":
        return _sqlite(unquote(place), _options(query))
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


def _options(query: str) -> dict[str, float]:
    known = {"lease", "max_pending", "retention"}
    options = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise Invalid(
                "a broker URL has no option {name!r}; there are {known}", name=name, known=", ".join(sorted(known))
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
    )
