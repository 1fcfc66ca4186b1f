import asyncio

import httpx2
import pytest

from pumasi.broker import Broker
from pumasi.core.job import Job, QueueSettings, State
from pumasi.core.outcome import Completed, Outcome
from pumasi.gateway.app import Gateway
from pumasi.gateway.schemas import JobView, PageView
from tests.gateway.fakes import worker


async def test_submit_answers_201_and_where_the_job_is(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs", json={"script": "catalogue", "parameters": {"page": 3}})
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["script"], job["parameters"]) == ("pending", "catalogue", {"page": 3})
    assert (await api.get(answer.headers["location"])).json() == job


async def test_wait_answers_200_with_the_ended_job(api: httpx2.AsyncClient, broker: Broker) -> None:
    async with worker(broker):
        answer = await api.post("/v1/jobs?wait=30", json={"script": "catalogue", "parameters": {"page": 3}})
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["result"]) == ("completed", {"page": 3})


async def test_wait_answers_202_with_the_job_so_far(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/v1/jobs?wait=10ms", json={"script": "catalogue"})
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    again = await api.get(f"/v1/jobs/{answer.json()['id']}?wait=0.01")
    assert again.status_code == 202


async def test_a_wait_begun_before_the_end_is_woken(api: httpx2.AsyncClient, broker: Broker) -> None:
    id = (await api.post("/v1/jobs", json={"script": "catalogue"})).json()["id"]
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{id}?wait=30"))
    async with worker(broker):
        answer = await waiting
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")


async def test_open_waits_are_answered_when_the_gateway_drains(api: httpx2.AsyncClient, app: Gateway) -> None:
    waiting = asyncio.create_task(api.post("/v1/jobs?wait=60", json={"script": "catalogue"}))
    await asyncio.sleep(0)
    app.state.services.draining.set()
    assert (await waiting).status_code == 202


async def test_a_job_as_it_is_shown_has_the_form_that_is_described(api: httpx2.AsyncClient, broker: Broker) -> None:
    body = {
        "script": "catalogue", "args": ["a"], "queue": "fast", "priority": 9, "delay": "1h", "timeout": "1m30s",
        "limits": {"memory": "512MB", "cpu": 10, "processes": 4, "open_files": 64, "disk": 1024, "output": "1KB"},
        "required_memory": "64MB", "retry": 2, "unique": "one", "labels": {"shop": "a"}, "result": "none",
        "expires": 60, "on_lost": "fail", "key": "{queue}-x", "concurrency": 2, "rate": "10/min",
    }  # fmt: skip
    answer = await api.post("/v1/jobs", json=body)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    JobView.model_validate(shown)
    assert set(shown) == set(JobView.model_fields)
    assert shown["limits"]["memory"] == 512 * 1024 * 1024
    assert shown["retry"]["max_attempts"] == 3
    assert shown["limit"] == {"key": "fast-x", "concurrency": 2, "count": 10, "period": 60.0}
    assert shown["times"]["run_at"].endswith("Z")
    page = (await api.get("/v1/jobs")).json()
    PageView.model_validate(page)
    assert page["totals"] == {"pending": 1}


async def test_results_pass_through_to_the_digit(api: httpx2.AsyncClient, broker: Broker) -> None:
    text = '{"price":12345678901234567890.10,"big":123456789012345678901234567890}'

    def result(_: Job) -> Outcome:
        return Completed(result=text)

    async with worker(broker, result):
        answer = await api.post("/v1/jobs?wait=30", json={"script": "catalogue"})
    assert text in answer.text


async def test_a_large_result_is_fetched_where_it_lies(api: httpx2.AsyncClient, broker: Broker) -> None:
    await broker.put_blob("result/x/1", b'["large"]')

    def result(_: Job) -> Outcome:
        return Completed(result_blob="result/x/1", result_size=9)

    async with worker(broker, result):
        answer = await api.post("/v1/jobs?wait=30", json={"script": "catalogue"})
    assert answer.json()["result"] == ["large"]
    listed = (await api.get("/v1/jobs")).json()["jobs"][0]
    assert (listed["result"], listed["result_size"]) == (None, 9)


async def test_the_same_idempotency_key_is_answered_with_the_first_job(api: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await api.post("/v1/jobs", json={"script": "catalogue", "parameters": {"a": 1, "b": 2}}, headers=headers)
    again = await api.post("/v1/jobs", json={"parameters": {"b": 2, "a": 1}, "script": "catalogue"}, headers=headers)
    other = await api.post("/v1/jobs", json={"script": "catalogue", "parameters": {"a": 2}}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["id"] == again.json()["id"]
    assert other.json()["error"] == "Conflict"
    assert first.json()["id"] in other.json()["message"]


async def test_the_same_unique_key_with_other_parameters_is_a_conflict(api: httpx2.AsyncClient) -> None:
    first = await api.post("/v1/jobs", json={"script": "catalogue", "unique": "u", "parameters": {"a": 1}})
    same = await api.post("/v1/jobs", json={"script": "catalogue", "unique": "u", "parameters": {"a": 1}})
    other = await api.post("/v1/jobs", json={"script": "catalogue", "unique": "u", "parameters": {"a": 2}})
    assert (first.status_code, same.status_code, other.status_code) == (201, 200, 409)


async def test_a_full_queue_says_when_to_try_again(api: httpx2.AsyncClient, broker: Broker) -> None:
    await broker.set_queue("default", QueueSettings(max_pending=1))
    assert (await api.post("/v1/jobs", json={"script": "catalogue"})).status_code == 201
    answer = await api.post("/v1/jobs", json={"script": "catalogue"})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "default" in answer.json()["message"]


async def test_many_jobs_are_taken_all_or_none(api: httpx2.AsyncClient) -> None:
    good = {"script": "catalogue"}
    answer = await api.post("/v1/jobs/batch", json={"jobs": [good, {"script": "catalogue", "parameters": {"n": 2}}]})
    assert answer.status_code == 201
    assert [job["parameters"] for job in answer.json()["jobs"]] == [None, {"n": 2}]
    bad = await api.post("/v1/jobs/batch", json={"jobs": [good, {"script": "catalogue", "priority": 12}]})
    assert bad.status_code == 422
    assert [field["field"] for field in bad.json()["details"]["fields"]] == ["/jobs/1/priority"]
    assert (await api.get("/v1/jobs")).json()["totals"] == {"pending": 2}


async def test_find_filters_and_pages(api: httpx2.AsyncClient) -> None:
    for n in range(5):
        labels = {"shop": "a" if n % 2 else "b:c"}
        body = {"script": "catalogue", "parameters": {"n": n}, "labels": labels, "queue": f"q{n % 2}"}
        assert (await api.post("/v1/jobs", json=body)).status_code == 201
    page = (await api.get("/v1/jobs", params={"limit": 2})).json()
    rest = (await api.get("/v1/jobs", params={"limit": 3, "cursor": page["cursor"]})).json()
    assert [job["parameters"]["n"] for job in page["jobs"] + rest["jobs"]] == [4, 3, 2, 1, 0]
    assert rest["cursor"] is None
    shop = (await api.get("/v1/jobs", params={"label": "shop:b:c"})).json()
    assert [job["parameters"]["n"] for job in shop["jobs"]] == [4, 2, 0]
    assert len((await api.get("/v1/jobs", params={"queue": "q1"})).json()["jobs"]) == 2
    assert (await api.get("/v1/jobs", params={"state": ["failed", "running"]})).json()["jobs"] == []
    assert len((await api.get("/v1/jobs", params={"script": "catalogue", "state": "pending"})).json()["jobs"]) == 5
    since = page["jobs"][1]["times"]["created_at"]
    assert len((await api.get("/v1/jobs", params={"since": since})).json()["jobs"]) == 2  # to the microsecond


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "/state/0"),
        ("limit=0", "/limit"),
        ("limit=many", "/limit"),
        ("since=yesterday", "/since"),
        ("label=shop", "/label/0"),
        ("sate=failed", "/sate"),
    ],
)
async def test_a_bad_filter_is_named(api: httpx2.AsyncClient, query: str, field: str) -> None:
    answer = await api.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert field in [bad["field"] for bad in answer.json()["details"]["fields"]]


async def test_an_id_may_be_shortened_to_what_is_unique(api: httpx2.AsyncClient) -> None:
    ids = [(await api.post("/v1/jobs", json={"script": "catalogue"})).json()["id"] for _ in range(2)]
    assert (await api.get(f"/v1/jobs/{ids[0][:-1]}")).json()["id"] == ids[0]
    both = await api.get(f"/v1/jobs/{ids[0][:4]}")
    assert both.status_code == 422
    assert all(id in both.json()["message"] for id in ids)
    for unknown in ("zzz", ids[0][:-1] + "!", "x" * 300):
        missing = await api.get(f"/v1/jobs/{unknown}")
        assert (missing.status_code, missing.json()["error"]) == (404, "JobNotFound")


async def test_cancel_and_retry(api: httpx2.AsyncClient, broker: Broker) -> None:
    body = {"script": "catalogue", "parameters": {"n": 1}, "unique": "u", "priority": 3}
    first = (await api.post("/v1/jobs", json=body)).json()
    early = await api.post(f"/v1/jobs/{first['id']}/retry")
    assert early.status_code == 409
    cancelled = await api.post(f"/v1/jobs/{first['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"], cancelled.json()["cause"]) == (
        200, "cancelled", "cancelled",
    )  # fmt: skip
    again = await api.post(f"/v1/jobs/{first['id'][:-2]}/retry")
    assert again.status_code == 201
    assert again.json()["parent"] == first["id"]
    kept = ("script", "digest", "parameters", "unique", "priority")
    assert [again.json()[name] for name in kept] == [first[name] for name in kept]
    assert (await broker.get(first["id"])).state is State.CANCELLED


async def test_artifacts(api: httpx2.AsyncClient, broker: Broker) -> None:
    id = (await api.post("/v1/jobs", json={"script": "catalogue"})).json()["id"]
    await broker.put_blob(f"artifact/{id}/0/shots/page é.html", b"<script>alert(1)</script>")
    listed = (await api.get(f"/v1/jobs/{id}/artifacts")).json()
    assert listed == [{"name": "shots/page é.html", "size": 25}]
    one = await api.get(f"/v1/jobs/{id}/artifacts/shots/page é.html")
    assert one.content == b"<script>alert(1)</script>"
    assert one.headers["content-disposition"].startswith("attachment")
    assert one.headers["content-security-policy"] == "sandbox"
    missing = await api.get(f"/v1/jobs/{id}/artifacts/none")
    assert (missing.status_code, missing.json()["error"]) == (404, "ArtifactNotFound")


async def test_scripts_workers_queues_stats(api: httpx2.AsyncClient, broker: Broker) -> None:
    assert [script["name"] for script in (await api.get("/v1/scripts")).json()] == ["catalogue"]
    assert (await api.get("/v1/workers")).json() == []
    await api.post("/v1/jobs", json={"script": "catalogue"})
    paused = await api.put("/v1/queues/default", json={"paused": True})
    assert (paused.status_code, paused.json()["paused"], paused.json()["max_pending"]) == (200, True, None)
    bounded = await api.post("/v1/queues/default", json={"max_pending": 7})
    assert (bounded.json()["paused"], bounded.json()["max_pending"]) == (True, 7)
    assert [queue["name"] for queue in (await api.get("/v1/queues")).json()] == ["default"]
    stats = (await api.get("/v1/stats")).json()
    assert stats["jobs"] == [{"state": "pending", "script": "catalogue", "cause": None, "count": 1}]
    assert stats["totals"] == {"pending": 1}
    assert (await api.put("/v1/queues/a%20b", json={"paused": True})).status_code == 422
    assert (await api.put("/v1/queues/default", json={"pausd": True})).status_code == 422
