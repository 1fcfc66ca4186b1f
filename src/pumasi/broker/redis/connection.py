"""One connection for each event loop, made when it is first needed and again when it was lost.

What was under way when a connection broke may have been carried out or not: its callers get `Unavailable`, and may ask
again, as every step is safe to repeat. A connection found broken before anything was sent is made anew, unnoticed.
"""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from redis import exceptions as driver

from pumasi.broker.redis.address import Address, Node, connected, nodes_of
from pumasi.broker.redis.gate import translated
from pumasi.broker.redis.wire import Gone, Refusal, Wire
from pumasi.errors import Unavailable

#: times that a cluster may send us on
_MOVES = 5
#: seconds to wait for a connection to be closed
_CLOSING = 1.0

Greeting = Callable[[Wire], Awaitable[None]]


class Line:
    """The connection of one event loop."""

    def __init__(self, address: Address, greet: Greeting, on_end: Callable[[], object]) -> None:
        self._address = address
        self._greet = greet
        self._on_end = on_end
        self._wire: Wire | None = None
        self._making: asyncio.Task[Wire] | None = None
        #: where a cluster has our keys
        self._node: Node | None = None
        # closes the connection when its loop ends before anybody else does
        self._keeper = asyncio.create_task(self._keep())

    async def ask(self, command: bytes) -> Any:
        """The reply to a command. Raises: Refusal, Unavailable, Invalid."""
        for _ in range(_MOVES):
            wire = self._wire
            if wire is None or not wire.open:
                wire = await self._connected()
            try:
                return await wire.ask(command)
            except Gone as error:
                raise translated(error, self._address.place) from error
            except Refusal as refusal:
                if refusal.code != "MOVED":
                    self._give_up(wire, refusal)
                    raise
                self._move(wire, refusal)
        raise self._is_moving()

    def tell(self, command: bytes) -> bool:
        """Send a command without waiting for its reply; False when there is no connection just now."""
        if self._wire is None or not self._wire.open:
            return False
        self._wire.tell(command)
        return True

    async def close(self) -> None:
        """End the connection; safe to repeat."""
        self._keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeper

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _connected(self) -> Wire:
        """The connection that all who wait for one share."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(lambda made: made.cancelled() or made.exception())
        return await asyncio.shield(self._making)

    async def _make(self) -> Wire:
        for _ in range(_MOVES):
            wire = await first_connected(self._address, self._node)
            try:
                await self._greet(wire)
            except (Gone, Refusal) as error:
                if isinstance(error, Refusal) and error.code == "MOVED":
                    self._move(wire, error)
                    continue
                wire.abort()
                self._node = None
                raise translated(error, self._address.place) from error
            except BaseException:
                wire.abort()
                raise
            self._wire = wire
            return wire
        raise self._is_moving()

    def _is_moving(self) -> Unavailable:
        return Unavailable(
            "the Redis cluster at {place} is moving our keys; try again in a while", place=self._address.place
        )

    def _move(self, wire: Wire, refusal: Refusal) -> None:
        """Go on at the node that a cluster names: `MOVED slot host:port`."""
        host, _, port = refusal.rest.split()[-1].rpartition(":")
        self._node = (host or self._address.nodes[0][0], int(port))
        wire.close()

    def _give_up(self, wire: Wire, refusal: Refusal) -> None:
        """A server that is primary no more is left: the sentinels, or the cluster, know who is."""
        if refusal.code in ("READONLY", "MASTERDOWN", "CLUSTERDOWN"):
            self._node = None
            wire.close()

    async def _keep(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._on_end()
            if self._making is not None:
                self._making.cancel()
            wire, self._wire = self._wire, None
            if wire is not None:
                await end(wire)


async def first_connected(
    address: Address, node: Node | None = None, on_push: Callable[[Any], None] | None = None
) -> Wire:
    """A connection to the first server that can be reached, `node` before all others. Raises: Unavailable, Invalid."""
    try:
        nodes = await nodes_of(address)
    except (driver.RedisError, OSError) as error:
        raise translated(error, address.place) from error
    last: BaseException | None = None
    for where in dict.fromkeys((*([node] if node else []), *nodes)):
        try:
            return Wire(await connected(address, where), on_push=on_push)
        except (driver.RedisError, OSError) as error:
            last = error
    assert last is not None
    raise translated(last, address.place) from last


async def end(wire: Wire) -> None:
    """Close a connection, and wait until it is."""
    wire.close()
    await asyncio.wait([wire.lost], timeout=_CLOSING)
    if not wire.lost.done():
        wire.abort()


class Lines:
    """The lines of all event loops of this process."""

    def __init__(self, address: Address, greet: Greeting) -> None:
        self._address = address
        self._greet = greet
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Line] = weakref.WeakKeyDictionary()
        #: connections of the process we were forked from: never used, never closed
        self._foreign: list[Any] = []

    def here(self) -> Line:
        """The line of the running loop."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None or self._pid != os.getpid():
            line = self._begin(loop)
        return line

    def _begin(self, loop: asyncio.AbstractEventLoop) -> Line:
        with self._lock:
            if self._pid != os.getpid():
                self._foreign.append(list(self._lines.items()))
                self._lines = weakref.WeakKeyDictionary()
                self._pid = os.getpid()
            lines = self._lines
            line = lines[loop] = Line(self._address, self._greet, lambda: lines.pop(loop, None))
            return line

    async def close(self) -> None:
        """End all connections; safe to repeat."""
        with self._lock:
            lines, self._lines = list(self._lines.items()), weakref.WeakKeyDictionary()
        running = asyncio.get_running_loop()
        for loop, line in lines:
            if loop is running:
                await line.close()
            elif not loop.is_closed():
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(line._keeper.cancel)
