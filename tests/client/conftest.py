from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pumasi.broker import Broker, connect
from pumasi.client import AsyncClient
from tests.gateway.conftest import TOKEN
from tests.gateway.served import served, settings_of


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of scripts; no settings of this machine are found."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "catalogue.py").write_text("def main(**values):\n    return values\n")
    return folder


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with connect(f"memory://{tmp_path}") as broker:
        yield broker


@pytest.fixture(params=["gateway", "broker"])
async def url(request: pytest.FixtureRequest, tmp_path: Path, scripts: Path, broker: Broker) -> AsyncIterator[str]:
    """Both kinds of URL that lead to the same broker."""
    if request.param == "broker":
        yield broker.url
        return
    async with served(settings_of(tmp_path), broker) as url:
        yield url


@pytest.fixture
async def client(url: str, scripts: Path) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url, token=TOKEN, scripts=scripts) as client:
        yield client
