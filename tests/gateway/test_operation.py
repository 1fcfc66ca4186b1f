import asyncio

import httpx2
import pytest

from pumasi.broker import Broker
from pumasi.core.job import Job, Worker
from pumasi.errors import Invalid, Unavailable
from pumasi.gateway.app import Gateway
from pumasi.gateway.metrics import together
from tests.gateway.fakes import echo, worker


async def test_healthy_and_ready(api: httpx2.AsyncClient) -> None:
    assert (await api.get("/healthz")).json()["status"] == "ok"
    assert (await api.get("/readyz")).json() == {"status": "ok"}


async def test_what_weakens_a_promise_is_told(
    api: httpx2.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "concerns", lambda: [Invalid("nothing is written to disk")])
    answer = await api.get("/readyz")
    assert answer.status_code == 200
    assert "nothing is written to disk" in answer.json()["concerns"][0]["message"]


async def test_not_ready_names_the_part_that_fails(
    api: httpx2.AsyncClient, app: Gateway, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> int:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(broker, "position", silent)
    answer = await api.get("/readyz")
    assert (answer.status_code, answer.json()["part"]) == (503, "broker")
    assert "the disk is gone" in answer.json()["message"]
    monkeypatch.undo()
    app.state.services.draining.set()
    assert (await api.get("/readyz")).json()["part"] == "gateway"


async def test_a_broker_that_does_not_answer_is_503(
    api: httpx2.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: object) -> list[Job]:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(broker, "submit", silent)
    answer = await api.post("/v1/jobs", json={"script": "catalogue"})
    assert (answer.status_code, answer.json()["error"]) == (503, "Unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_our_own_fault_tells_nothing_of_the_inside(
    app: Gateway, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> list[object]:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(broker, "queues", broken)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": "Bearer a-token-for-tests"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        answer = await client.get("/v1/queues")
    assert (answer.status_code, answer.json()["error"]) == (500, "Error")
    assert "secret" not in answer.text


async def test_metrics_tell_of_jobs_queues_and_workers(api: httpx2.AsyncClient, app: Gateway, broker: Broker) -> None:
    stats = {"tasks_completed": 3.0, "tasks_failed": 1.0, "avg_processing_time": 2.0, "lease_losses": 1.0}
    await broker.heartbeat(Worker(id="w1", slots_total=4, slots_used=1, stats=stats), [])
    async with app.router.lifespan_context(app):
        # the observer looks from the first change on that it could have seen
        await asyncio.sleep(0)
        async with worker(broker, echo):
            for parameters in ({}, {}, {"fail": "no"}):
                await api.post("/v1/jobs?wait=30", json={"script": "catalogue", "parameters": parameters})
        await api.post("/v1/jobs", json={"script": "catalogue", "queue": "slow"})
        async with asyncio.timeout(10):
            while 'pumasi_run_seconds_count{script="catalogue"} 3.0' not in (text := (await api.get("/metrics")).text):
                await broker.hint("changes", timeout=0.02)
    for line in (
        'pumasi_jobs{cause="",script="catalogue",state="completed"} 2.0',
        'pumasi_jobs{cause="exit",script="catalogue",state="failed"} 1.0',
        'pumasi_jobs{cause="",script="catalogue",state="pending"} 1.0',
        'pumasi_queue_pending{queue="slow"} 1.0',
        'pumasi_queue_oldest_age_seconds{queue="default"} 0.0',
        'pumasi_claim_wait_seconds_count{queue="default"} 3.0',
        'pumasi_workers{status="active"} 1.0',
        "pumasi_slots_total 4.0",
        "pumasi_slots_used 1.0",
        "pumasi_lease_losses 1.0",
        "pumasi_tasks_completed 3.0",
        "pumasi_tasks_failed 1.0",
        "pumasi_success_rate 0.75",
        "pumasi_avg_processing_time 2.0",
    ):
        assert line in text.splitlines(), line


def test_statistics_of_several_workers_become_one() -> None:
    one = {"tasks_completed": 9.0, "tasks_failed": 0.0, "avg_processing_time": 1.0, "uptime_seconds": 60.0}
    two = {"tasks_completed": 0.0, "tasks_failed": 1.0, "avg_processing_time": 11.0, "uptime_seconds": 30.0}
    both = together([Worker(id="a", stats=one, slots_total=4), Worker(id="b", stats=two, slots_total=2)])
    assert both["success_rate"] == 0.9
    assert both["avg_processing_time"] == 2.0
    assert (both["uptime_seconds"], both["slots_total"]) == (60.0, 6.0)
    assert together([])["success_rate"] == 0.0


async def test_the_description_is_whole_and_its_page_needs_nothing_else(api: httpx2.AsyncClient) -> None:
    description = (await api.get("/openapi.json")).json()
    paths = description["paths"]
    for path in ("/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/logs", "/v1/events", "/v1/stats", "/metrics"):
        assert path in paths
    assert set(paths["/v1/jobs"]) == {"get", "post"}
    schemas = description["components"]["schemas"]
    for reference in _references(description):
        assert reference.startswith("#/components/schemas/")
        assert reference.rsplit("/", 1)[-1] in schemas
    assert {"script", "parameters", "retry", "labels"} <= set(schemas["JobRequest"]["properties"])
    page = await api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert "http://" not in page.text.replace("http://localhost", "")
    assert "https://" not in page.text
    assert "/v1/jobs/{id}/artifacts/{name}" in page.text


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return here + [reference for inner in value.values() for reference in _references(inner)]
    return [reference for inner in value for reference in _references(inner)] if isinstance(value, list) else []
