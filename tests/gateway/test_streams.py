import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pumasi.broker import Broker
from pumasi.core.job import Record
from pumasi.core.outcome import Completed
from tests.gateway.fakes import worker
from tests.gateway.served import caller, served, settings_of


@pytest.fixture
async def live(tmp_path: Path, scripts: Path, broker: Broker) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a gateway that really listens."""
    async with served(settings_of(tmp_path), broker) as url, caller(url) as client:
        yield client


async def _submit(client: httpx2.AsyncClient, **fields: Any) -> str:
    answer = await client.post("/v1/jobs", json={"script": "catalogue", **fields})
    id: str = answer.json()["id"]
    return id


async def _events(client: httpx2.AsyncClient, path: str, **headers: str) -> list[httpx2.ServerSentEvent]:
    """All events of a stream that ends by itself."""
    async with client.sse(path, headers=headers) as source:
        return [event async for event in source]


async def test_the_events_of_a_job_end_with_it(live: httpx2.AsyncClient, broker: Broker) -> None:
    id = await _submit(live)
    async with client_of(live, f"/v1/events?job={id}") as events:
        first = (await anext(events)).json()
        assert first["job"]["state"] == "pending"
        async with worker(broker):
            states = [event.json()["job"]["state"] async for event in events]
    assert states[-1] == "completed"


async def test_events_resume_behind_the_last_one_seen(live: httpx2.AsyncClient, broker: Broker) -> None:
    id = await _submit(live)
    async with worker(broker):
        await live.get(f"/v1/jobs/{id}?wait=30")
    (only,) = await _events(live, f"/v1/events?job={id}")
    assert only.json()["job"]["state"] == "completed"
    assert int(only.id) == only.json()["change"]
    (again,) = await _events(live, f"/v1/events?job={id}", **{"Last-Event-ID": str(int(only.id) - 1)})
    assert again.id == only.id
    behind = await live.get(f"/v1/events?job={id}", headers={"Last-Event-ID": only.id})
    assert behind.status_code == 204


async def test_the_events_of_a_queue_are_those_of_its_jobs(live: httpx2.AsyncClient) -> None:
    async with client_of(live, "/v1/events?queue=fast") as fast, client_of(live, "/v1/events") as every:
        await anext(fast), await anext(every)  # where they begin
        first = await _submit(live)
        second = await _submit(live, queue="fast")
        assert (await anext(fast)).json()["job"]["id"] == second
        assert [(await anext(every)).json()["job"]["id"] for _ in range(2)] == [first, second]


async def test_a_queue_that_was_watched_resumes_with_what_was_missed(live: httpx2.AsyncClient) -> None:
    async with client_of(live, "/v1/events?queue=default") as events:
        begin = (await anext(events)).id
    id = await _submit(live)
    async with client_of(live, "/v1/events?queue=default", **{"Last-Event-ID": begin}) as events:
        await anext(events)
        assert (await anext(events)).json()["job"]["id"] == id


async def test_logs_as_a_list_and_as_a_stream(live: httpx2.AsyncClient, broker: Broker) -> None:
    id = await _submit(live)
    (lease,) = await broker.claim("w", ["default"], 1, 2**40, 5.0)
    await broker.append(
        lease, [Record(1 << 32 | 1, 1.5, "stdout", b"one\n"), Record(1 << 32 | 2, 2.5, "stderr", b"\xff")]
    )
    listed = (await live.get(f"/v1/jobs/{id}/logs")).json()
    assert listed[0] == {
        "seq": 4294967297, "attempt": 1, "time": "1970-01-01T00:00:01.500000Z", "stream": "stdout", "text": "one\n",
    }  # fmt: skip
    assert (listed[1]["stream"], listed[1]["text"], listed[1]["base64"]) == ("stderr", "�", "/w==")
    assert len((await live.get(f"/v1/jobs/{id}/logs?after=4294967297")).json()) == 1
    async with client_of(live, f"/v1/jobs/{id}/logs?follow=1") as events:
        assert [(await anext(events)).json()["seq"] for _ in range(2)] == [listed[0]["seq"], listed[1]["seq"]]
        await broker.append(lease, [Record(1 << 32 | 3, 3.5, "log", b"three")])
        third = await anext(events)
        await broker.settle(lease, Completed(result="1"))
        (end,) = [event async for event in events]
    assert (third.json()["text"], end.event, end.json()) == ("three", "end", {"state": "completed"})
    (rest, _) = await _events(live, f"/v1/jobs/{id}/logs?follow=1", **{"Last-Event-ID": listed[1]["seq"].__str__()})
    assert rest.id == third.id
    behind = await live.get(f"/v1/jobs/{id}/logs?follow=1", headers={"Last-Event-ID": third.id})
    assert behind.status_code == 204


async def test_a_full_log_is_a_text_and_never_a_page(live: httpx2.AsyncClient, broker: Broker) -> None:
    id = await _submit(live)
    (lease,) = await broker.claim("w", ["default"], 1, 2**40, 5.0)
    await broker.append(lease, [Record(1 << 32 | 1, 1.5, "stdout", b"<b>one</b>\n")])
    answer = await live.get(f"/v1/jobs/{id}/logs?full=1")
    assert answer.content == b"<b>one</b>\n"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_streams_end_when_the_gateway_stops(tmp_path: Path, scripts: Path, broker: Broker) -> None:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(settings_of(tmp_path), broker))
        async with caller(url) as client, client_of(client, "/v1/events") as events:
            await anext(events)
            stopping = asyncio.create_task(stack.aclose())
            assert [event async for event in events] == []
            await stopping


async def test_a_silent_stream_says_that_it_lives(live: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumasi.gateway.waiting.KEEP_ALIVE", 0.01)
    id = await _submit(live)
    async with live.stream("GET", f"/v1/jobs/{id}/logs?follow=1") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        chunks = answer.aiter_bytes()
        assert await anext(chunks) == b": alive\n\n"
        await chunks.aclose()


async def test_a_caller_that_hangs_up_is_no_longer_waited_for(
    live: httpx2.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, left = asyncio.Event(), asyncio.Event()
    wait = broker.wait

    async def seen(id: str, timeout: float) -> Any:
        waiting.set()
        try:
            return await wait(id, timeout)
        except asyncio.CancelledError:
            left.set()
            raise

    monkeypatch.setattr(broker, "wait", seen)
    call = asyncio.create_task(live.post("/v1/jobs?wait=60", json={"script": "catalogue"}))
    await waiting.wait()
    call.cancel()
    async with asyncio.timeout(10):
        await left.wait()


@pytest.mark.parametrize("id", ["x", "-1", "1.5"])
async def test_an_id_that_is_none_is_refused(live: httpx2.AsyncClient, id: str) -> None:
    job = await _submit(live)
    for path in (f"/v1/events?job={job}", f"/v1/jobs/{job}/logs?follow=1"):
        answer = await live.get(path, headers={"Last-Event-ID": id})
        assert (answer.status_code, answer.json()["error"]) == (422, "Invalid")


async def test_streams_about_no_job_are_refused(live: httpx2.AsyncClient) -> None:
    for path in ("/v1/events?job=none", "/v1/jobs/none/logs", "/v1/jobs/none/logs?follow=1"):
        assert (await live.get(path)).status_code == 404


class client_of:
    """The events of a stream, one by one; hung up at the end of the block."""

    def __init__(self, client: httpx2.AsyncClient, path: str, **headers: str) -> None:
        self._opening = client.sse(path, headers=headers)

    async def __aenter__(self) -> AsyncIterator[httpx2.ServerSentEvent]:
        source = await self._opening.__aenter__()
        self._events = aiter(source)
        return self._events

    async def __aexit__(self, *error: Any) -> None:
        await self._events.aclose()  # type: ignore[attr-defined]
        await self._opening.__aexit__(*error)
