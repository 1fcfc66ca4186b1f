import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker import Broker, connect
from pumasi.core.job import Job, State
from pumasi.errors import BadSetting, Invalid, Unavailable
from pumasi.gateway import serve as module
from pumasi.tokenfile import token_file
from tests.gateway.conftest import TOKEN
from tests.gateway.served import caller, served, settings_of


async def test_the_file_tells_the_truth_and_goes_with_the_gateway(
    tmp_path: Path, scripts: Path, broker: Broker
) -> None:
    settings = settings_of(tmp_path, token=None)
    async with served(settings, broker) as url:
        told = json.loads(settings.token_file.read_text())
        assert (told["url"], told["pid"]) == (url, os.getpid())
        assert stat.S_IMODE(settings.token_file.stat().st_mode) == 0o600
        assert len(told["token"]) >= 32
        assert ":0" not in url.removeprefix("http://127.0.0.1")
        async with caller(url) as client:
            answer = await client.get("/v1/jobs", headers={"Authorization": f"Bearer {told['token']}"})
            assert answer.status_code == 200
            assert (await client.get("/v1/jobs")).status_code == 401
    assert not settings.token_file.exists()
    assert os.listdir(settings.data_dir) == []


async def test_a_port_that_is_taken_is_said_so(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} of 127.0.0.1 is taken"):
            async with served(settings_of(tmp_path, port=port), broker):
                pass
    assert not (tmp_path / "data").exists()


async def test_an_address_that_is_not_ours_is_said_so(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    with pytest.raises(Invalid, match=r"192\.0\.2\.1"):
        async with served(settings_of(tmp_path, host="192.0.2.1"), broker):
            pass


async def test_a_second_gateway_on_a_data_folder_is_refused(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    settings = settings_of(tmp_path)
    settings.data_dir.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        settings.token_file.write_text(json.dumps({"url": "http://x:1", "token": "t", "pid": other.pid}))
        with pytest.raises(Unavailable, match=rf"http://x:1 \(process {other.pid}\)"):
            async with served(settings, broker):
                pass
        assert json.loads(settings.token_file.read_text())["pid"] == other.pid
        other.kill()


async def test_what_a_killed_gateway_left_is_replaced_and_its_token_goes_on(
    tmp_path: Path, scripts: Path, broker: Broker
) -> None:
    settings = settings_of(tmp_path, token=None)
    settings.data_dir.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    settings.token_file.write_text(json.dumps({"url": "http://x:1", "token": TOKEN, "pid": gone.pid}))
    async with served(settings, broker) as url, caller(url) as client:
        assert (await client.get("/v1/jobs")).status_code == 200
        assert json.loads(settings.token_file.read_text())["url"] == url


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 1}'])
def test_a_file_that_makes_no_sense_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token.json"
    path.write_text(content)
    with token_file(path, "http://here", TOKEN):
        assert json.loads(path.read_text())["url"] == "http://here"
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Invalid, match=r"token\.json"), token_file(tmp_path / "file" / "token.json", "http://x", TOKEN):
        pass


async def test_open_access_is_refused_where_others_reach_it(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    with pytest.raises(BadSetting, match="loopback"):
        async with served(settings_of(tmp_path, token=None, open_access=True, host="0.0.0.0"), broker):
            pass


async def test_open_access_needs_no_token(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    settings = settings_of(tmp_path, token=None, open_access=True)
    async with served(settings, broker) as url, caller(url) as client:
        assert (await client.get("/v1/jobs", headers={"Authorization": ""})).status_code == 200
        assert json.loads(settings.token_file.read_text())["token"] is None


async def test_a_broker_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def late(url: str, **options: Any) -> Broker:
        broker = connect(url)
        ready = broker.open

        async def open() -> None:
            tries.append(1)
            if len(tries) < 3:
                raise Unavailable("not yet")
            await ready()

        monkeypatch.setattr(broker, "open", open)
        return broker

    monkeypatch.setattr(module, "connect", late)
    async with served(settings_of(tmp_path, broker="memory://")) as url, caller(url) as client:
        assert (await client.get("/readyz")).status_code == 200
    assert len(tries) == 3


async def test_a_gateway_that_waits_for_its_broker_can_be_stopped(
    tmp_path: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = asyncio.Event()

    def never(url: str, **options: Any) -> Broker:
        broker = connect(url)

        async def open() -> None:
            stop.set()
            raise Unavailable("never")

        monkeypatch.setattr(broker, "open", open)
        return broker

    monkeypatch.setattr(module, "connect", never)
    assert await module.serve(settings_of(tmp_path, broker="memory://"), stop=stop) == 0


async def test_jobs_that_nobody_claims_are_swept(tmp_path: Path, scripts: Path) -> None:
    async with connect("memory://swept") as broker:
        (job,) = await broker.submit([Job(id="old", script="catalogue", expires_at=1.0)])
        assert job.state is State.PENDING
        async with served(settings_of(tmp_path), broker), asyncio.timeout(10):
            assert (await broker.wait("old", 10)).state is State.FAILED


async def test_a_stopped_gateway_answers_those_who_wait(
    tmp_path: Path, scripts: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()
    wait = broker.wait

    async def seen(id: str, timeout: float) -> Job:
        waiting.set()
        return await wait(id, timeout)

    monkeypatch.setattr(broker, "wait", seen)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(settings_of(tmp_path), broker))
        async with caller(url) as client:
            call = asyncio.create_task(client.post("/v1/jobs?wait=60", json={"script": "catalogue"}))
            await waiting.wait()
            stopping = asyncio.create_task(stack.aclose())
            assert (await call).status_code == 202
            await stopping


async def test_a_cancelled_gateway_cleans_up(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    settings = settings_of(tmp_path)
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(module.serve(settings, ready=ready.set_result, broker=broker))
    await ready
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not settings.token_file.exists()
