"""What scripts tell a test while they run: notes over a connection of loopback, which ends when their process does.

A sealed script shares no folder with the test, and its pid means nothing outside; the network it may still use.
"""

import asyncio
import contextlib
from collections.abc import Callable

SOURCE = """
import os, socket, time
_notes = []
def note(name, text):
    line = socket.create_connection(("127.0.0.1", {port}))
    line.sendall(f"{{name}} {{text}}\\n".encode())
    _notes.append(line)
def waits(name):
    note(name, "waits")
    _notes[-1].recv(1)
"""


class Notes:
    """A server that hears notes, and knows which of the processes that sent them are still there."""

    def __init__(self) -> None:
        self._heard: dict[str, list[str]] = {}
        self._there: dict[str, int] = {}
        self._waiting: dict[str, list[asyncio.StreamWriter]] = {}
        self._changed = asyncio.Condition()
        self.source = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.source = SOURCE.format(port=self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for writer in [writer for waiting in self._waiting.values() for writer in waiting]:
            writer.close()
        await self._until(lambda: not any(self._there.values()))

    def of(self, name: str) -> list[str]:
        """What was noted under a name."""
        return self._heard.get(name, [])

    async def noted(self, name: str, count: int = 1) -> list[str]:
        """The notes once there are so many."""
        await self._until(lambda: len(self.of(name)) >= count)
        return self.of(name)

    async def gone(self, name: str) -> None:
        """Until no process that has noted something under a name is left."""
        await self._until(lambda: not self._there.get(name))

    def go(self, name: str) -> None:
        """Let those go on that wait under a name."""
        for writer in self._waiting.pop(name, []):
            writer.write(b"!")

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(condition)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, _, text = (await reader.readline()).decode().strip().partition(" ")
        self._waiting.setdefault(name, []).append(writer)
        await self._note(name, text, 1)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        await self._note(name, None, -1)

    async def _note(self, name: str, text: str | None, change: int) -> None:
        async with self._changed:
            if text is not None:
                self._heard.setdefault(name, []).append(text)
            self._there[name] = self._there.get(name, 0) + change
            self._changed.notify_all()
