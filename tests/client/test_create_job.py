"""Documents, as producers of MongoDB make them."""

import sys
from pathlib import Path

import pytest

from pumasi.client import AsyncClient, Client
from pumasi.core.job import State
from pumasi.errors import Invalid
from tests.harness import System
from tests.servers.mongodb import mongo_databases, mongo_server, mongo_url

__all__ = ["mongo_databases", "mongo_server", "mongo_url"]


async def test_a_document_is_run_from_its_path(tmp_path: Path, mongo_url: str) -> None:
    robots = tmp_path / "robots"
    robots.mkdir()
    (robots / "nightly.py").write_text("import sys\nprint('ran', *sys.argv[1:])\n")
    system = System(tmp_path, mongo_url)
    async with system.open(), system.working(script_paths=(robots,)), AsyncClient(mongo_url) as client:
        id = await client.create_job("nightly", str(robots / "nightly.py"), ["a", "b"], required_memory=1)
        done = await client.wait(id, 30)
        assert (done.state, done.exit_code) == (State.COMPLETED, 0)
        assert "ran a b" in await system.log(done)


def test_the_sync_client_has_it_too_and_other_brokers_have_not(tmp_path: Path, mongo_url: str) -> None:
    with Client(mongo_url) as client:
        id = client.create_job("nightly", sys.executable, [])
        assert client.get(id).state is State.PENDING
    with Client(f"sqlite:///{tmp_path}/x.db") as client, pytest.raises(Invalid, match="mongodb://"):
        client.create_job("nightly", "/a.py", [])
