"""Who may speak to the gateway: the guard in front of every route.

Three questions, in this order. Is this gateway meant (`Host`)? A web page that rebinds its own name to this address
sends that name, and is refused. Does a web page of somebody else ask (`Origin`)? Does the caller hold the token? Only
the health check and the description of the API, which hold no data, are open. The token is compared in constant time,
and is in no log, no message and no URL.
"""

import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pumasi.errors import BadSetting, Denied, Error, Invalid
from pumasi.gateway.problems import answer, language_of

#: no token is asked for here: they hold no data
OPEN = frozenset({"/healthz", "/docs", "/openapi.json"})

#: a name or an address, and perhaps a port
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:@/\[\]]+))(?::\d{1,5})?", re.ASCII)


class Guard:
    """Lets through what may be answered. `token` None is open access: for whoever can reach the address."""

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str], any_address: bool) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, error = refusal
        await answer(error, status=status, language=language_of(headers))(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, Error] | None:
        host = headers.get("host", "")
        if not self._meant(host):
            text = "this gateway does not go by the name {host!r}; use its address, or start it with PUMASI_URL=http://NAME:PORT"
            return 421, Invalid(text, host=host[:100])
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return 403, Denied("a page of {origin!r} may not use this gateway", origin=origin[:100])
        if self._token is not None and path not in OPEN and not self._holds(headers.get("authorization", "")):
            return 401, Denied()
        return None

    def _holds(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        expected = self._token or b""
        same = hmac.compare_digest(given.strip().encode(errors="replace"), expected)
        return scheme.lower() == "bearer" and same

    def _meant(self, host: str) -> bool:
        parts = _HOST.fullmatch(host.lower())
        if parts is None:
            return False
        name = (parts[1] or parts[2]).rstrip(".")
        if name in self._hosts:
            return True
        address = _address(name)
        return address is not None and (self._any_address or address.is_loopback)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address: `127.0.0.1`, `::1`, `localhost`."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def own_names(host: str, extra: Iterable[str] = ()) -> frozenset[str]:
    """The names a gateway bound to `host` goes by."""
    names = {"localhost", host, *extra} | (set() if is_loopback(host) else {socket.gethostname()})
    return frozenset(name.lower() for name in names if name)


def check_access(host: str, *, token: str | None, open_access: bool) -> None:
    """Raises: BadSetting when anybody on the network could do anything."""
    if token is None and not open_access:
        raise BadSetting("a gateway needs a token; set PUMASI_TOKEN, or PUMASI_OPEN_ACCESS=true on a loopback address")
    if token is None and not is_loopback(host):
        raise BadSetting(
            "open_access is for loopback addresses only, and {host} is none; set a token instead", host=host
        )
    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token):
        raise BadSetting("the token must be 8 or more printable ASCII characters without spaces")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
