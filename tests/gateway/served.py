"""A gateway that really listens, in this process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from pumasi.broker import Broker
from pumasi.config import Settings
from pumasi.gateway.serve import serve
from tests.gateway.conftest import TOKEN


def settings_of(folder: Path, **changes: Any) -> Settings:
    options = {"data_dir": folder / "data", "scripts": folder / "scripts", "port": 0, "token": TOKEN}
    return Settings(**(options | changes))


@contextlib.asynccontextmanager
async def served(settings: Settings, broker: Broker | None = None) -> AsyncIterator[str]:
    """The URL of a gateway that runs as long as the block."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, ready=ready.set_result, broker=broker, stop=stop))
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        await task
    try:
        yield ready.result()
    finally:
        stop.set()
        assert await task == 0


@contextlib.asynccontextmanager
async def caller(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Language": "en"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client
