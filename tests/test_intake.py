"""Taking jobs in, without a gateway: what becomes of a request."""

import datetime
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pumasi.broker import Broker, connect
from pumasi.core.job import Cause, Job, KeyLimit, Limits, Query, Retry
from pumasi.core.outcome import Completed, Failed
from pumasi.errors import BadFields, Conflict, Invalid, JobNotFound, QueueFull, ScriptNotFound
from pumasi.intake import Intake, JobRequest, locate
from pumasi.scripts.base import Reference
from pumasi.scripts.bundle import unpack
from pumasi.scripts.local import LocalRepository

MB = 1024 * 1024

MANIFEST = """
timeout = "1m"
memory_limit = "64MB"
cpu = 7
required_memory = "32MB"
result = "json"
on_lost = "fail"
queue = "slow"
priority = 4
expires = "1h"
key = "shop-{params.url|domain}"
rate = "10/min"
[retry]
max_attempts = 3
[labels]
team = "a"
kind = "x"
"""


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with connect("memory://") as broker:
        yield broker


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "catalogue.py").write_text("def main(**values): ...\n")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "main.py").write_text("def main(**values): ...\n")
    (tmp_path / "shop" / "pumasi.toml").write_text(MANIFEST)
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "pumasi.toml").write_text('command = ["node", "x.js"]\n')
    (tmp_path / "shot.py").write_text("# /// script\n# tool.pumasi.browser = true\n# ///\n")
    return tmp_path


@pytest.fixture
def intake(broker: Broker, scripts: Path) -> Intake:
    return Intake(broker, LocalRepository(scripts))


async def _submit(intake: Intake, script: str = "catalogue", **fields: Any) -> Job:
    return await intake.submit(JobRequest(script=script, **fields))


async def test_a_bare_request_leaves_the_rest_to_the_worker(intake: Intake) -> None:
    job = await _submit(intake)
    assert (job.script, job.version, job.queue, job.priority) == ("catalogue", None, "default", 0)
    assert (job.parameters, job.args, job.timeout, job.limits, job.result_mode) == (None, None, None, Limits(), None)
    assert (job.retry, job.on_lost, job.limit, job.expires_at) == (Retry(), "retry", None, None)


async def test_the_manifest_says_what_the_request_leaves_open(intake: Intake) -> None:
    job = await _submit(intake, "shop", parameters={"url": "https://WWW.Shop.example:8443/a?b"})
    assert (job.timeout, job.required_memory, job.result_mode, job.on_lost) == (60.0, 32 * MB, "json", "fail")
    assert job.limits == Limits(memory=64 * MB, cpu=7.0)
    assert (job.queue, job.priority, job.retry.max_attempts) == ("slow", 4, 3)
    assert job.expires_at == pytest.approx(job.created_at + 3600, abs=5)
    assert job.limit == KeyLimit(key="shop-www.shop.example", count=10, period=60.0)
    assert job.labels == {"team": "a", "kind": "x"}


async def test_the_request_goes_before_the_manifest(intake: Intake) -> None:
    job = await _submit(
        intake,
        "shop",
        timeout=5,
        limits={"memory": "1MB", "processes": 2},
        required_memory=MB,
        result="none",
        on_lost="retry",
        queue="fast",
        priority=0,
        expires=60,
        retry=0,
        key="all",
        concurrency=2,
        labels={"kind": "y"},
    )
    assert (job.timeout, job.required_memory, job.result_mode, job.on_lost) == (5.0, MB, "none", "retry")
    assert job.limits == Limits(memory=MB, cpu=7.0, processes=2)
    assert (job.queue, job.priority, job.retry.max_attempts) == ("fast", 0, 1)
    assert job.limit == KeyLimit(key="all", concurrency=2, count=10, period=60.0)
    assert job.labels == {"team": "a", "kind": "y"}


async def test_a_browser_gets_room_unless_the_request_says_otherwise(intake: Intake) -> None:
    job = await _submit(intake, "shot")
    assert (job.limits, job.required_memory) == (Limits(memory=2048 * MB, processes=512), 1024 * MB)
    asked = await _submit(intake, "shot", limits={"memory": "300MB", "disk": "5MB"}, required_memory="200MB")
    assert (asked.limits, asked.required_memory) == (
        Limits(memory=300 * MB, processes=512, disk=5 * MB),
        200 * MB,
    )


async def test_a_command_takes_its_parameters_as_one_argument(intake: Intake) -> None:
    fits = {"a": "x" * (100 * 1024 - len('{"a":""}'))}
    job = await _submit(intake, "program", parameters=fits)
    assert job.parameters is not None
    assert len(job.parameters) == 100 * 1024
    for parameters in ({"a": fits["a"] + "x"}, {"a": "가" * 34_200}):
        with pytest.raises(BadFields, match=r"/parameters are 102\d+ bytes .* 102400 are taken .* 128 KiB"):
            await _submit(intake, "program", parameters=parameters)
        assert (await _submit(intake, parameters=parameters)).parameters is not None


async def test_a_command_has_no_main(intake: Intake) -> None:
    for mode in ("json", "json-lenient", "none", None):
        assert (await _submit(intake, "program", result=mode, args=["x"])).result_mode == mode
    with pytest.raises(BadFields, match="/result a command has no main"):
        await _submit(intake, "program", result="return")
    with pytest.raises(BadFields) as caught:
        await _submit(intake, "program", result="return", parameters={"a": "x" * 200_000})
    assert [bad["field"] for bad in caught.value.fields] == ["/parameters", "/result"]


async def test_a_retry_rule_in_full(intake: Intake) -> None:
    rule = {"max_attempts": 5, "delay": "10s", "factor": 3, "max_delay": "1m", "on": ["timeout"]}
    job = await _submit(intake, retry=rule)
    assert job.retry == Retry(max_attempts=5, delay=10.0, factor=3.0, max_delay=60.0, on=(Cause.TIMEOUT,))


async def test_when_a_job_is_due(intake: Intake) -> None:
    now = time.time()
    later = await _submit(intake, delay="1h", expires=60)
    assert later.run_at == pytest.approx(now + 3600, abs=5)
    assert later.expires_at == later.run_at + 60
    at = datetime.datetime(2030, 1, 31, 9, tzinfo=datetime.timezone(datetime.timedelta(hours=9)))
    assert (await _submit(intake, run_at=at.isoformat())).run_at == at.timestamp()
    assert (await _submit(intake, run_at=at.timestamp())).run_at == at.timestamp()
    assert (await _submit(intake, delay=0)).run_at <= time.time()


@pytest.mark.parametrize(
    ("key", "parameters", "expanded"),
    [
        ("{script}", {}, "catalogue"),
        ("{script}/{queue}", {}, "catalogue/default"),
        ("{params.a.b}-{params.n}", {"a": {"b": "x"}, "n": 3}, "x-3"),
        ("{params.url|domain}", {"url": "shop.example/a"}, "shop.example"),
        ("{params.name|lower}", {"name": "ABC"}, "abc"),
        ("{labels.team}", {}, "red"),
        ("plain {", {}, "plain {"),
    ],
)
async def test_keys_are_filled_in(intake: Intake, key: str, parameters: dict[str, Any], expanded: str) -> None:
    job = await _submit(intake, key=key, parameters=parameters, labels={"team": "red"})
    assert job.limit == KeyLimit(key=expanded, concurrency=1)


@pytest.mark.parametrize(
    ("key", "parameters"),
    [
        ("{params.a}", None),
        ("{params.a}", {"a": {"b": 1}}),
        ("{params.a}", {"a": ""}),
        ("{params.url|domain}", {"url": "//["}),
        ("{params.url|domain}", {"url": "file:///x"}),
        ("{params.a|upper}", {"a": "x"}),
        ("{params.a}", {"a": "x" * 500}),
    ],
)
async def test_a_key_that_cannot_be_filled_in_is_refused(
    intake: Intake, key: str, parameters: dict[str, Any] | None
) -> None:
    with pytest.raises(BadFields, match="/key"):
        await _submit(intake, key=key, parameters=parameters)


async def test_a_rate_without_a_key_is_that_of_the_script(intake: Intake) -> None:
    assert (await _submit(intake, rate="5/s")).limit == KeyLimit(key="catalogue", count=5, period=1.0)


async def test_a_job_is_bound_to_the_content_it_was_submitted_with(
    intake: Intake, broker: Broker, scripts: Path
) -> None:
    first = await _submit(intake)
    (scripts / "catalogue.py").write_text("def main(**values): return 'another'\n")
    second = await _submit(intake)
    assert first.digest != second.digest
    bundle = await broker.get_blob(f"script/{first.digest}")
    assert bundle is not None
    assert unpack(bundle)["catalogue.py"] == b"def main(**values): ...\n"
    assert await broker.get_blob(f"script/{second.digest}") is not None


async def test_a_bundle_is_stored_once_and_again_before_it_could_be_forgotten(
    broker: Broker, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = []
    put_blob = broker.put_blob

    async def counted(key: str, data: bytes) -> None:
        stored.append(key)
        await put_blob(key, data)

    monkeypatch.setattr(broker, "put_blob", counted)
    now = 0.0
    intake = Intake(broker, LocalRepository(scripts), clock=lambda: now)
    await _submit(intake)
    await _submit(intake)
    assert len(stored) == 1
    now = 3601.0
    await _submit(intake)
    assert len(stored) == 2


async def test_a_version_is_what_was_asked_for(intake: Intake, scripts: Path) -> None:
    (scripts / "catalogue@1.2.py").write_text("pass\n")
    assert (await _submit(intake, "catalogue@1.2")).version == "1.2"
    assert (await _submit(intake, "catalogue", version="1.2")).reference == "catalogue@1.2"
    with pytest.raises(ScriptNotFound, match=r"1\.2"):
        await _submit(intake, "catalogue@2")
    assert JobRequest(script="catalogue", version="1.2").reference == Reference("catalogue", "1.2")


async def test_a_repetition_is_told_from_another_request(intake: Intake) -> None:
    request = JobRequest(script="catalogue", parameters={"a": 1, "b": {"c": 2, "d": 3}})
    same = JobRequest(script="catalogue", parameters={"b": {"d": 3, "c": 2}, "a": 1})
    first = await intake.take(request, idempotency_key="k")
    again = await intake.take(same, idempotency_key="k")
    assert (first.fresh, again.fresh, again.job) == (True, False, first.job)
    for other in (
        JobRequest(script="catalogue"),
        JobRequest(script="catalogue", parameters={}),
        request.model_copy(update={"priority": 1}),
    ):
        with pytest.raises(Conflict):
            await intake.take(other, idempotency_key="k")


async def test_a_delay_is_repeated_as_it_was_asked(intake: Intake) -> None:
    first = await intake.take(JobRequest(script="catalogue", delay=60), idempotency_key="k")
    again = await intake.take(JobRequest(script="catalogue", delay=60), idempotency_key="k")
    assert (again.fresh, again.job.run_at) == (False, first.job.run_at)


async def test_many_are_taken_all_or_none(intake: Intake, broker: Broker) -> None:
    jobs = await intake.submit_many([JobRequest(script="catalogue", parameters={"n": n}) for n in range(3)])
    assert [job.parameter_values["n"] for job in jobs] == [0, 1, 2]
    assert len({job.id for job in jobs}) == 3
    with pytest.raises(ScriptNotFound):
        await intake.submit_many([JobRequest(script="catalogue"), JobRequest(script="none")])
    with pytest.raises(BadFields, match="/jobs/1/key"):
        await intake.submit_many([JobRequest(script="catalogue"), JobRequest(script="catalogue", key="{params.x}")])
    with pytest.raises(Invalid, match="1000"):
        await intake.submit_many([JobRequest(script="catalogue")] * 1001)
    assert sum(count for *_, count in (await broker.stats()).jobs) == 3


async def test_a_full_queue_takes_none_of_many(scripts: Path) -> None:
    async with connect("memory://?max_pending=2") as broker:
        intake = Intake(broker, LocalRepository(scripts))
        with pytest.raises(QueueFull):
            await intake.submit_many([JobRequest(script="catalogue")] * 3)
        assert (await broker.stats()).jobs == ()


async def test_retry_makes_a_new_job_of_an_ended_one(intake: Intake, broker: Broker, scripts: Path) -> None:
    asked = await _submit(
        intake, "shop", parameters={"url": "http://a.example"}, unique="u", labels={"a": "b"}, args=["x"], expires=9
    )
    with pytest.raises(Conflict, match="has not ended"):
        await intake.retry(asked.id)
    (lease,) = await broker.claim("w", ["slow"], 1, 2**40, 5.0)
    await broker.settle(lease, Completed(result="1"))
    (scripts / "shop" / "main.py").write_text("changed = True\n")
    again = await intake.retry(asked.id[:-1])
    assert (again.parent, again.digest, again.state.value, again.attempt) == (asked.id, asked.digest, "pending", 0)
    assert again.expires_at is None
    ours = {"id", "parent", "created_at", "run_at", "expires_at", "change", "revision"}
    assert {name: getattr(again, name) for name in again.__struct_fields__ if name not in ours} == {
        name: getattr(asked, name) for name in asked.__struct_fields__ if name not in ours
    }
    with pytest.raises(JobNotFound):
        await intake.retry("none")


async def test_a_retry_repeated_with_its_key_is_the_same_job(intake: Intake, broker: Broker) -> None:
    job = await broker.cancel((await _submit(intake)).id)
    first = await intake.retry(job.id, idempotency_key="k")
    assert (await intake.retry(job.id, idempotency_key="k")).id == first.id
    assert (await intake.retry(job.id)).id != first.id


async def test_a_requeue_makes_no_second_job_when_the_first_was_forgotten(scripts: Path) -> None:
    async with connect("memory://?retention_cancelled=0") as broker:
        intake = Intake(broker, LocalRepository(scripts))
        job = await _submit(intake)
        (lease,) = await broker.claim("w", ["default"], 1, 2**40, 5.0)
        await broker.settle(lease, Failed(cause=Cause.EXIT, error="x"))
        again = await intake.requeue(job.id)
        assert (await intake.requeue(job.id)).id == again.id
        await broker.cancel(again.id)
        await broker.sweep()
        with pytest.raises(Conflict, match="no dead letter: it is requeued"):
            await intake.requeue(job.id)
        assert (await broker.find(Query(parent=job.id))).jobs == ()


async def test_ids_are_found_by_what_is_unique_of_them(broker: Broker) -> None:
    job = Job(id="abc-1", script="catalogue")
    await broker.submit([job, replace(job, id="abc-2"), replace(job, id="abc")])
    assert (await locate(broker, "abc")).id == "abc"
    assert (await locate(broker, "abc-2")).id == "abc-2"
    with pytest.raises(Invalid, match="abc-2"):
        await locate(broker, "ab")
    for unknown in ("", "abd", "abc-1x", "%", "a*"):
        with pytest.raises(JobNotFound):
            await locate(broker, unknown)
