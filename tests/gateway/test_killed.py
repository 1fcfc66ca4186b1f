"""A gateway that is killed in the middle of a wait: nothing is lost, and who waited gets the result."""

import asyncio
import json
import socket
import subprocess
from pathlib import Path

import pytest

from pumasi.broker import connect
from pumasi.client import AsyncClient
from pumasi.core.job import Record
from pumasi.core.outcome import Completed
from tests.gateway.fakes import worker
from tests.processes import Processes, processes


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


async def _up(started: Processes, port: int) -> subprocess.Popen[bytes]:
    """A gateway on this port, once its file says so."""
    process = started.start("gateway", "--port", str(port))
    file = started.folder / "data" / "token.json"
    async with asyncio.timeout(60):
        while not (file.exists() and json.loads(file.read_text())["pid"] == process.pid):
            assert process.poll() is None, "".join(log.read_text() for log in started.folder.glob("*.log"))
            await asyncio.sleep(0.05)
    return process


async def test_a_client_gets_its_result_although_the_gateway_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUMASI_DATA_DIR", str(tmp_path / "data"))
    port = _free_port()
    with processes(tmp_path) as started:
        (started.scripts / "catalogue.py").write_text("def main(page):\n    return page\n")
        gateway = await _up(started, port)
        async with AsyncClient(f"http://127.0.0.1:{port}") as client, connect(started.url) as broker:
            waiting = asyncio.create_task(client.run("catalogue", {"page": 3}, timeout=60))
            (lease,) = await broker.claim("w", ["default"], 1, 2**40, 30.0)
            following = client.logs(lease.id, follow=True)
            await broker.append(lease, [Record(1 << 32 | 1, 1.0, "stdout", b"one")])
            assert (await anext(following)).data == b"one"
            gateway.kill()
            gateway.wait()
            await broker.append(lease, [Record(1 << 32 | 2, 1.0, "stdout", b"two")])
            await broker.settle(lease, Completed(result="3"))
            assert not waiting.done()
            await _up(started, port)
            assert await waiting == 3
            assert [record.data async for record in following] == [b"two"]
            async with worker(broker):
                assert await client.run("catalogue", {"page": 4}, timeout=60) == {"page": 4}
