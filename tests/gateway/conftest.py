from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from pumasi.broker import Broker, connect
from pumasi.gateway.app import Gateway, create_app
from pumasi.scripts.local import LocalRepository

TOKEN = "a-token-for-tests"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "catalogue.py").write_text("def main(**values):\n    return values\n")
    return folder


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with connect("memory://") as broker:
        yield broker


@pytest.fixture
def app(broker: Broker, scripts: Path) -> Gateway:
    return create_app(broker, LocalRepository(scripts), token=TOKEN)


@pytest.fixture
async def api(app: Gateway) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the app that holds its token; answers in English."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Language": "en"}
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client
