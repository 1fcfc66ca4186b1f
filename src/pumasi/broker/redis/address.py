"""Where the server is, as a URL says it, and a connection to it.

    redis://user:password@host:6379/0        rediss://…                 one server, plain or by TLS
    redis+unix:///run/redis.sock?db=0        unix:///run/redis.sock     one server, by its socket
    redis+sentinel://host:26379,host/service/0                          whichever server the sentinels call primary
    redis+cluster://host:6379,host                                      the node of a cluster that has our keys

`valkey` may stand for `redis` everywhere. Options: `prefix` (of all keys), `face` (what the keys of other programs
begin with; `scraping` beside the usual prefix, else none; empty: none; a cluster has none), `db`, `ssl_ca_certs`,
`ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs` (required, optional, none), `ssl_check_hostname`, `sentinel_username`,
`sentinel_password`.
"""

import asyncio
import re
import socket
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from msgspec import Struct
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import Sentinel

from pumasi.broker.redis.wire import DEADLINE
from pumasi.errors import Invalid

#: seconds for one attempt to connect
CONNECT = 5.0
PREFIX = "pumasi"
FACE = "scraping"

_WAYS = ("", "unix", "sentinel", "cluster")
_OPTIONS = frozenset(
    {
        "prefix", "face", "db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname",
        "sentinel_username", "sentinel_password",
    }
)  # fmt: skip
_PORTS = {"sentinel": 26379}
_PLACE = re.compile(r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<hosts>[^/@]*)(?P<path>/.*)?")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}")

Node = tuple[str, int]


class Address(Struct, frozen=True, kw_only=True):
    """Where the server is, how to log in, and under which prefix our keys lie."""

    #: "" (one server), unix, sentinel or cluster
    way: str = ""
    nodes: tuple[Node, ...] = ()
    #: the socket
    path: str = ""
    #: what the sentinels call it
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    #: None: no TLS
    tls: dict[str, Any] | None = None
    prefix: str = PREFIX
    #: what the keys of other programs begin with; empty: we do not look at them
    face: str = ""

    @property
    def url(self) -> str:
        """The URL, without what is secret: for people."""
        scheme = ("rediss" if self.tls is not None else "redis") + (f"+{self.way}" if self.way else "")
        path = self.path or "/".join(["", *filter(None, [self.service]), *([str(self.db)] if self.db else [])])
        shown = {"db": self.db if self.way == "unix" and self.db else None}
        shown["prefix"] = None if self.prefix == PREFIX else self.prefix  # type: ignore[assignment]
        query = urlencode({name: value for name, value in shown.items() if value is not None})
        return f"{scheme}://{self.place_of_nodes()}{path}" + (f"?{query}" if query else "")

    def place_of_nodes(self) -> str:
        """The hosts, as they are written."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)

    @property
    def place(self) -> str:
        """The server, for messages."""
        return self.path or self.place_of_nodes()


def parsed(url: str) -> tuple[Address, str]:
    """The address that a URL names, and those options of it that are not about the address. Raises: Invalid."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    ours = {name: value for name, value in options if name in _OPTIONS}
    others = urlencode([(name, value) for name, value in options if name not in _OPTIONS])
    name, _, way = scheme.partition("+")
    if name == "unix":
        name, way = "redis", "unix"
    match = _PLACE.fullmatch(place)
    if match is None or way not in _WAYS:
        raise _no_address()
    login: dict[str, Any] = {"username": _unquoted(match["user"]), "password": _unquoted(match["password"])}
    address = Address(way=way, tls=_tls(name, ours), **login, **_place(way, match, ours), **_names(way, ours))
    return address, others


def _no_address() -> Invalid:
    return Invalid(
        "this is no Redis URL; write redis://:PASSWORD@HOST:6379/0, with characters such as @ and / in a password "
        "as %40 and %2F"
    )


def _place(way: str, match: re.Match[str], options: dict[str, str]) -> dict[str, Any]:
    path = match["path"] or ""
    if way == "unix":
        if not path or match["hosts"]:
            raise Invalid("a Redis URL with a socket names its file: redis+unix:///run/redis/redis.sock")
        return {"path": unquote(path), "db": _db(options.get("db", "0"))}
    nodes = tuple(_node(host, _PORTS.get(way, 6379)) for host in (match["hosts"] or "localhost").split(","))
    if len(nodes) > 1 and not way:
        raise Invalid("several hosts need redis+sentinel://HOST,HOST/SERVICE, or redis+cluster://HOST,HOST")
    service, _, db = path[1:].partition("/") if way == "sentinel" else ("", "", path[1:])
    if way == "sentinel" and not service:
        raise Invalid("a Redis URL with sentinels names the service: redis+sentinel://HOST:26379/SERVICE")
    number = _db(db or options.get("db", "0"))
    if way == "cluster" and number:
        raise Invalid("a Redis cluster has database 0 only; leave the number out")
    return {"nodes": nodes, "service": unquote(service), "db": number}


def _node(text: str, port: int) -> Node:
    match = _HOST.fullmatch(text)
    if match is None or int(match["port"] or port) > 65535:
        raise _no_address()
    return match["host"].strip("[]"), int(match["port"] or port)


def _db(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise Invalid("the database of a Redis URL is a number: redis://HOST:6379/0")
    return int(text)


def _tls(name: str, options: dict[str, str]) -> dict[str, Any] | None:
    given: dict[str, Any] = {key: value for key, value in options.items() if key.startswith("ssl_")}
    if name not in ("rediss", "valkeys"):
        if given:
            raise Invalid("TLS options of a Redis URL need rediss://")
        return None
    if given.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise Invalid("option ssl_cert_reqs of a Redis URL is required, optional or none")
    if "ssl_check_hostname" in given:
        given["ssl_check_hostname"] = given["ssl_check_hostname"].lower() not in ("0", "no", "false")
    return given


def _names(way: str, options: dict[str, str]) -> dict[str, Any]:
    names: dict[str, Any] = {
        name: options[name] for name in ("prefix", "sentinel_username", "sentinel_password") if name in options
    }
    prefix = names.get("prefix", PREFIX)
    if not _NAME.fullmatch(prefix):
        raise Invalid("option prefix of a Redis URL has 1 to 64 letters, digits, or _ . : -")
    face = options.get("face", FACE if prefix == PREFIX else "")
    if face and not _NAME.fullmatch(face):
        raise Invalid("option face of a Redis URL has 1 to 64 letters, digits, or _ . : -, or is empty")
    return names | {"face": "" if way == "cluster" else face}


def _unquoted(text: str | None) -> str | None:
    return unquote(text) if text else None


# -- connecting ---------------------------------------------------------------------------------------------------


async def nodes_of(address: Address) -> tuple[Node | None, ...]:
    """Where to try, in order; None is the socket. Raises: what the driver does (no sentinel knows a primary)."""
    if address.way == "unix":
        return (None,)
    if address.way != "sentinel":
        return address.nodes
    login = {"username": address.sentinel_username, "password": address.sentinel_password}
    timeouts = {"socket_timeout": CONNECT, "socket_connect_timeout": CONNECT}
    async with Sentinel(address.nodes, sentinel_kwargs={**login, **timeouts}) as sentinel:  # type: ignore[no-untyped-call]
        host, port = await sentinel.discover_master(address.service)
    return ((str(host), int(port)),)


async def connected(address: Address, node: Node | None) -> asyncio.StreamWriter:
    """A connection, logged in. Raises: what the driver does."""
    connection = _connection(address, node)
    async with asyncio.timeout(CONNECT):
        await connection.connect()  # type: ignore[no-untyped-call]
    # the driver has no public way to hand its stream on
    writer = connection._writer
    connection._reader = connection._writer = None
    assert writer is not None
    _notice_silence(writer)
    return writer


def _connection(address: Address, node: Node | None) -> AbstractConnection:
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "db": address.db,
        "protocol": 2,
        "client_name": "pumasi",
        "driver_info": None,
        # the driver's own timeouts may swallow a cancellation
        "socket_timeout": None,
    }
    if node is None:
        return UnixDomainSocketConnection(path=address.path, **options)
    options |= {"host": node[0], "port": node[1]}
    return Connection(**options) if address.tls is None else SSLConnection(**options, **address.tls)


def _notice_silence(writer: asyncio.StreamWriter) -> None:
    """Let the kernel give up when what was sent is not acknowledged in time."""
    made = writer.get_extra_info("socket")
    if made is not None and made.family in (socket.AF_INET, socket.AF_INET6):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEADLINE * 1000))
