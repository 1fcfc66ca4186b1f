"""A proxy that counts how often a client asks a server, and waits: bytes that go in after bytes have come out."""

import asyncio
import contextlib

CHUNK = 65536


class Counter:
    """A port of the loopback that leads to `target`. Use as an async context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()
        #: questions so far, of all connections; what is sent together is one
        self.asked = 0

    async def __aenter__(self) -> "Counter":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, url: str) -> str:
        """A URL of the server, leading through here."""
        return url.replace(f":{self._target}", f":{self.port}")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
            line = _Line(self)
            try:
                await asyncio.gather(
                    line.carry(reader, server_writer, asks=True), line.carry(server_reader, writer, asks=False)
                )
            finally:
                writer.close()
                server_writer.close()


class _Line:
    """One connection, and whose turn it is."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._asking = False

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool) -> None:
        while chunk := await source.read(CHUNK):
            if asks and not self._asking:
                self._counter.asked += 1
            self._asking = asks
            sink.write(chunk)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
