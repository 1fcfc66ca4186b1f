"""The server: scripts by name, its clock, and what it must be for us to trust it with jobs."""

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from msgspec import Struct

from pumasi.broker.clock import ServerClock
from pumasi.broker.redis.address import Address
from pumasi.broker.redis.connection import Lines
from pumasi.broker.redis.face import Face
from pumasi.broker.redis.gate import translated
from pumasi.broker.redis.scripts import SCRIPTS
from pumasi.broker.redis.wire import Refusal, Value, Wire, packed, part
from pumasi.errors import Error, Invalid

#: the first version whose scripts may ask for the time and write then
OLDEST = (5, 0)
#: of the keys that this program makes, and knows how to read
SCHEMA = 1


class Facts(Struct, frozen=True):
    """What a server says of itself; None: it does not say."""

    version: tuple[int, ...] | None = None
    #: changes with each start of the process
    run: str | None = None
    #: seconds since then
    age: float = 0.0
    policy: str | None = None
    append_only: bool | None = None
    cluster: bool = False


class Server:
    """A server, asked from any event loop of this process."""

    def __init__(self, address: Address, clock: Callable[[], float] | None = None, zone: tzinfo | None = None) -> None:
        self.address = address
        self.face = Face(address, zone)
        self.clock = ServerClock(clock)
        self.prefix = f"{{{address.prefix}}}:"
        self.facts = Facts()
        self._lines = Lines(address, self._greet)
        prefix = self.prefix
        self._calls = {
            name: (packed(b"EVALSHA", script.digest, 1, prefix), packed(b"EVAL", script.text, 1, prefix))
            for name, script in SCRIPTS.items()
        }

    async def open(self) -> None:
        """Connect, unless connected. Raises: Invalid, Unavailable."""
        await self.ask(b"PING")

    async def close(self) -> None:
        """Let go; safe to repeat."""
        await self._lines.close()

    def key(self, name: str) -> str:
        """A key of ours."""
        return self.prefix + name

    async def run(self, name: str, *values: Value) -> Any:
        """What a script answers. Raises: Invalid, Unavailable."""
        known, whole = self._calls[name]
        turned = self.clock.turned
        rest = b"".join(map(part, (b"" if turned is None else repr(turned()), *values)))
        line = self._lines.here()
        try:
            try:
                return await line.ask(_with(known, rest, len(values) + 1))
            except Refusal as refusal:
                if refusal.code != "NOSCRIPT":
                    raise
                return await line.ask(_with(whole, rest, len(values) + 1))
        except Refusal as refusal:
            raise translated(refusal, self.address.place) from refusal

    async def ask(self, *values: Value) -> Any:
        """What a command answers. Raises: Invalid, Unavailable."""
        try:
            return await self._lines.here().ask(packed(*values))
        except Refusal as refusal:
            raise translated(refusal, self.address.place) from refusal

    def tell(self, *values: Value) -> bool:
        """Send a command without waiting; False when there is no connection just now."""
        return self._lines.here().tell(packed(*values))

    def heard(self, now: float) -> None:
        """An answer came with the time of the server."""
        self.clock.heard(now)

    def concerns(self) -> list[Error]:
        """What weakens a promise on this server, and what to do about it."""
        facts, place, concerns = self.facts, self.address.place, list[Error]()
        if facts.version is None:
            text = (
                "Redis at {place} does not say how it is set (INFO is forbidden); it must have maxmemory-policy "
                "noeviction and appendonly yes, or jobs may be lost"
            )
            concerns.append(Invalid(text, place=place))
        if facts.append_only is False:
            text = (
                "Redis at {place} keeps no append-only file, and may lose jobs when it ends: set appendonly yes in "
                "redis.conf, or: redis-cli CONFIG SET appendonly yes"
            )
            concerns.append(Invalid(text, place=place))
        if self.address.way == "cluster":
            concerns.append(
                Invalid("on a Redis cluster requests of other programs (a list of theirs) are not looked at")
            )
        return concerns

    # -- a new connection -----------------------------------------------------------------------------------------

    async def _greet(self, wire: Wire) -> None:
        """Look at the server behind a new connection. Raises: Invalid, Unavailable, Refusal, Gone."""
        facts = await _facts(wire)
        _check(facts, self.address.place)
        await self._mark(wire)
        self.facts = facts
        if facts.run is not None:
            self.clock.met(facts.run, facts.age)

    async def _mark(self, wire: Wire) -> None:
        """Say which schema our keys have, unless somebody has said it."""
        key = self.key("schema")
        known = await wire.ask(packed(b"GET", key))
        if known is None:
            await wire.ask(packed(b"SET", key, SCHEMA, b"NX"))
        elif int(known) > SCHEMA:
            raise Invalid(
                "the keys {prefix} at {place} were written by a newer Pumasi (schema {version}, this one knows "
                "{known}); update Pumasi, or choose another prefix",
                prefix=self.prefix,
                place=self.address.place,
                version=int(known),
                known=SCHEMA,
            )


def _with(command: bytes, rest: bytes, more: int) -> bytes:
    """A command with more values behind it: its count stands in front."""
    count, _, body = command.partition(b"\r\n")
    return b"*%d\r\n%b%b" % (int(count[1:]) + more, body, rest)


async def _facts(wire: Wire) -> Facts:
    try:
        said = await wire.ask(packed(b"INFO"))
    except Refusal as refusal:
        if refusal.code not in ("NOPERM", "ERR"):
            raise
        return Facts()
    lines = (line.partition(":") for line in said.decode(errors="replace").splitlines())
    found = {name: value for name, _, value in lines}
    return Facts(
        version=tuple(int(number) for number in found["redis_version"].split(".")[:2]),
        run=found.get("run_id"),
        age=float(found.get("uptime_in_seconds", 0)),
        policy=found.get("maxmemory_policy"),
        append_only=found.get("aof_enabled") == "1",
        cluster=found.get("cluster_enabled") == "1",
    )


def _check(facts: Facts, place: str) -> None:
    if facts.version is not None and facts.version < OLDEST:
        version = ".".join(map(str, facts.version))
        raise Invalid("Redis at {place} is version {version}; Pumasi needs 5.0 or newer", place=place, version=version)
    if facts.policy not in (None, "noeviction"):
        raise Invalid(
            "Redis at {place} may drop jobs when its memory is full (maxmemory-policy is {policy}); set "
            "maxmemory-policy noeviction in redis.conf, or: redis-cli CONFIG SET maxmemory-policy noeviction",
            place=place,
            policy=facts.policy,
        )
