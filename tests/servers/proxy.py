"""A bad network in front of a server: a TCP proxy that loses, delays, cuts and refuses at a word.

It runs in a thread with an event loop of its own, so that tests of any colour turn it with plain calls; each call
returns once the new weather holds, for connections that stand as for new ones. What a hole swallows is kept and passed
on when it closes, as TCP sends again what was not acknowledged: a stream is late or cut, never bent.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

#: bytes read at once
CHUNK = 65536
#: seconds of silence after which an answer is taken to be whole
ANSWERED = 0.03
#: closed with this, a connection is reset, not ended
_RESET = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """The two ways of a connection, as the server sees them."""

    IN = "in"  # from the client to the server
    OUT = "out"  # from the server to the client


BOTH = frozenset(Way)


class Weather(Struct, frozen=True):
    """What happens to connections."""

    #: nobody listens; those that stood are reset
    refuses: bool = False
    #: ways on which nothing arrives
    holes: frozenset[Way] = frozenset()
    #: bytes a second on each way of a connection
    rate: float | None = None
    #: bytes that a connection carries on a way before it is reset
    cut_after: tuple[Way, int] | None = None
    #: the connection whose request holds these bytes is reset in place of its answer, once
    cut_answer: bytes | None = None


FAIR = Weather()


class Connection:
    """One client's connection, and ours to the server."""

    def __init__(self, client: socket.socket, server: socket.socket, proxy: "Proxy") -> None:
        self._ends = {Way.IN: (client, server), Way.OUT: (server, client)}
        self._proxy = proxy
        self._carried = dict.fromkeys(Way, 0)
        self._request = b""
        self._condemned = False

    async def carry(self) -> None:
        """Until both ways have ended, or one has failed."""
        ways = [asyncio.ensure_future(self._carry(way)) for way in Way]
        try:
            await asyncio.gather(*ways)
        except OSError:
            self.will_reset()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.close()

    def close(self) -> None:
        """Let go of both ends."""
        for end, _ in self._ends.values():
            end.close()

    def begin_counting(self) -> None:
        """The weather has changed: what was carried until now does not count."""
        self._carried = dict.fromkeys(Way, 0)

    def will_reset(self) -> None:
        """When it is closed, both ends learn that it is broken."""
        for end, _ in self._ends.values():
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def half_close(self, way: Way) -> None:
        """Nothing more comes on that way, and its reader is told."""
        with contextlib.suppress(OSError):
            self._ends[way][1].shutdown(socket.SHUT_WR)

    async def _carry(self, way: Way) -> None:
        source, sink = self._ends[way]
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(source, CHUNK):
            await self._proxy.passable(way)
            if way is Way.IN:
                self._look(chunk)
            elif self._condemned:
                await self._swallow(source)
            await self._send(way, sink, chunk)
        await self._proxy.passable(way)
        self.half_close(way)

    def _look(self, chunk: bytes) -> None:
        """Whether this is the request whose answer is to be lost."""
        mark = self._proxy.weather.cut_answer
        if mark is not None:
            self._request = (self._request + chunk)[-CHUNK - len(mark) :]
            self._condemned = self._condemned or (mark in self._request and self._proxy.condemn(mark))

    async def _swallow(self, source: socket.socket) -> None:
        """Let the server say all it has to say, then break the connection: what it did is done, nobody is told."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            while await asyncio.wait_for(loop.sock_recv(source, CHUNK), ANSWERED):
                pass
        self._proxy.cut.set()
        raise ConnectionResetError

    async def _send(self, way: Way, sink: socket.socket, chunk: bytes) -> None:
        loop = asyncio.get_running_loop()
        while chunk:
            part = chunk[: self._room(way)]
            if not part:
                self._proxy.cut.set()
                raise ConnectionResetError
            if (rate := self._proxy.weather.rate) is not None:
                await asyncio.sleep(len(part) / rate)
            await loop.sock_sendall(sink, part)
            self._carried[way] += len(part)
            self._proxy.carried[way] += len(part)
            chunk = chunk[len(part) :]

    def _room(self, way: Way) -> int:
        """Bytes that may be passed on at once; none: the connection is to be cut here."""
        weather, most = self._proxy.weather, CHUNK
        if weather.rate is not None:
            most = max(1, int(weather.rate / 20))
        if weather.cut_after is not None and weather.cut_after[0] is way:
            most = min(most, weather.cut_after[1] - self._carried[way])
        return max(0, most)


class Proxy:
    """A port of the loopback that leads to `target`, another one. Use as a context manager."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.weather = FAIR
        #: connections accepted since the beginning, and bytes passed on by way
        self.accepted = 0
        self.carried = dict.fromkeys(Way, 0)
        #: set when a connection was cut because of `cut_after` or `cut_answer`
        self.cut = threading.Event()
        self._standing: dict[Connection, asyncio.Task[None]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        # bound and never listened on: the port stays ours while connections are refused
        self._keeper = _bound(0)
        self.port = int(self._keeper.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Condition()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._keeper.close()

    @property
    def standing(self) -> int:
        """Connections that stand now."""
        return len(self._standing)

    def url(self, url: str) -> str:
        """A URL of the server, leading through here."""
        assert f":{self.target}" in url
        return url.replace(f":{self.target}", f":{self.port}")

    # -- the weather ----------------------------------------------------------------------------------------------

    def fair(self) -> None:
        """Everything passes; what a hole had swallowed arrives."""
        self._turn(FAIR)

    def refuse(self) -> None:
        """As when the server's process is gone: no connection is taken, those that stood are reset."""
        self._turn(Weather(refuses=True))

    def black_hole(self, *ways: Way) -> None:
        """Connections are taken and stand, and nothing arrives on these ways; on no way at all when none is named."""
        self._turn(Weather(holes=frozenset(ways) or BOTH))

    def throttle(self, rate: float) -> None:
        """So many bytes a second, on each way of each connection."""
        self._turn(Weather(rate=rate))

    def cut_after(self, way: Way, n: int) -> None:
        """Every connection is reset once it has carried `n` more bytes on that way."""
        self._turn(Weather(cut_after=(way, n)))

    def cut_answer(self, request: bytes) -> None:
        """The next request that holds these bytes reaches the server, is done, and its answer is lost with the
        connection; then the weather is fair again."""
        self._turn(Weather(cut_answer=request))

    def reset(self) -> None:
        """Every connection that stands is reset."""
        self._do(self._reset())

    def half_close(self, way: Way) -> None:
        """On every connection that stands nothing more comes on that way, and its reader is told so."""
        self._do(self._half_close(way))

    # -- for its connections, on its loop -------------------------------------------------------------------------

    async def passable(self, way: Way) -> None:
        """Until nothing hinders that way."""
        async with self._changed:
            await self._changed.wait_for(lambda: way not in self.weather.holes)

    def condemn(self, mark: bytes) -> bool:
        """Whether this is the one connection whose answer is to be lost."""
        if self.weather.cut_answer != mark:
            return False
        self.weather = FAIR
        return True

    # -- inside, on its loop --------------------------------------------------------------------------------------

    def _turn(self, weather: Weather) -> None:
        self.cut.clear()
        self._do(self._set(weather))

    def _do(self, step: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(10)

    async def _set(self, weather: Weather) -> None:
        async with self._changed:
            self.weather = weather
            self._changed.notify_all()
        for connection in self._standing:
            connection.begin_counting()
        if weather.refuses:
            await self._refuse()
        else:
            await self._listen()

    async def _half_close(self, way: Way) -> None:
        for connection in list(self._standing):
            connection.half_close(way)

    async def _listen(self) -> None:
        if self._listening is None:
            self._listener = _bound(self.port)
            self._listener.listen(256)
            self._listening = asyncio.ensure_future(self._accept(self._listener))

    async def _refuse(self) -> None:
        if self._listening is not None and self._listener is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listener.close()
            self._listening = self._listener = None
        await self._reset()

    async def _reset(self) -> None:
        standing = dict(self._standing)
        for connection, task in standing.items():
            connection.will_reset()
            task.cancel()
        await asyncio.gather(*standing.values(), return_exceptions=True)

    async def _close(self) -> None:
        await self._set(Weather(refuses=True))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            self.accepted += 1
            server = socket.socket()
            connection = Connection(client, server, self)
            task = self._standing[connection] = asyncio.ensure_future(self._serve(connection, server))
            task.add_done_callback(lambda _, connection=connection: self._standing.pop(connection, None))

    async def _serve(self, connection: Connection, server: socket.socket) -> None:
        server.setblocking(False)
        try:
            await self._loop.sock_connect(server, ("127.0.0.1", self.target))
            await connection.carry()
        except OSError:  # nobody listens there
            connection.will_reset()
        finally:
            connection.close()


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    bound.setblocking(False)
    return bound
