"""A gateway and a worker on a loop in another thread: for clients that have no loop."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from pumasi.broker import connect
from tests.gateway.fakes import worker
from tests.gateway.served import served, settings_of


class Background:
    """Runs as long as the block. `url` is the gateway's, `broker_url` that of the broker behind it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.broker_url = f"memory://{folder}"
        self._up = threading.Event()
        self._waiting = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def somebody_waits(self) -> None:
        """Returns once a caller waits for a job."""
        assert self._waiting.wait(30)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with connect(self.broker_url) as broker:
            wait = broker.wait

            async def seen(id: str, timeout: float) -> object:
                self._waiting.set()
                return await wait(id, timeout)

            broker.wait = seen  # type: ignore[method-assign, assignment]
            async with served(settings_of(self._folder), broker) as self.url, worker(broker, log=b"log"):
                self._up.set()
                await self._end.wait()
