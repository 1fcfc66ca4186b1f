import json

import pytest

from pumasi.core.job import Cause, Job, KeyLimit, Limits, Progress, Record, Retry, State
from pumasi.core.times import format_time, parse_time
from pumasi.views import job_from_view, job_view, record_from_view, record_view

FULL = Job(
    id="x",
    script="catalogue",
    version="1.2",
    digest="d",
    parameters='{"a":[1,null]}',
    args=("a", "b"),
    queue="q",
    priority=9,
    created_at=1.0,
    run_at=2.0,
    expires_at=3.0,
    timeout=4.0,
    limits=Limits(memory=1, output=2),
    required_memory=5,
    result_mode="json",
    retry=Retry(max_attempts=3, on=(Cause.TIMEOUT,)),
    on_lost="fail",
    limit=KeyLimit(key="k", count=1),
    unique="u",
    labels={"a": "b"},
    parent="p",
    external_id="e",
    state=State.FAILED,
    attempt=2,
    retries_used=1,
    deaths=1,
    fetch_faults=1,
    sandbox_faults=1,
    worker="w",
    claimed_at=5.0,
    started_at=6.0,
    cancel_requested=True,
    progress=Progress(1, 2, "note"),
    ended_at=7.5,
    error="e",
    cause=Cause.EXIT,
    exit_code=1,
    signal=9,
    peaks=Limits(cpu=1.5),
    enforced=Limits(disk=3),
    isolation="basic",
    phases={"run": 1.0},
    log_tail="tail",
    warnings=("w",),
    artifacts=("a",),
    change=12,
)


def test_a_job_survives_the_way_there_and_back() -> None:
    assert job_from_view(json.loads(json.dumps(job_view(FULL)))) == FULL
    bare = Job(id="x", script="catalogue")
    assert job_from_view(json.loads(json.dumps(job_view(bare)))) == bare


def test_nothing_that_is_secret_is_shown() -> None:
    job = Job(id="x", script="s", token="SECRET", claim_id="SECRET", idempotency_key="SECRET", body_hash="SECRET")
    assert "SECRET" not in json.dumps(job_view(job))


@pytest.mark.parametrize("text", ['"x"', "0", "false", "[]", '{"a":{"b":[1,2.5,"é"]}}'])
def test_results_survive(text: str) -> None:
    job = Job(id="x", script="s", state=State.COMPLETED, result=text)
    back = job_from_view(json.loads(json.dumps(job_view(job))))
    assert json.loads(back.result or "") == json.loads(text)


def test_a_result_from_elsewhere_is_shown_in_its_place() -> None:
    job = Job(id="x", script="s", state=State.COMPLETED, result_blob="result/x/1")
    assert job_view(job, "[1]")["result"] == [1]
    assert job_view(job)["result"] is None


def test_durations() -> None:
    times = job_view(FULL)["times"]
    assert (times["wait"], times["run"], times["ended_at"]) == (3.0, 1.5, "1970-01-01T00:00:07.500000Z")
    assert job_view(Job(id="x", script="s"))["times"]["run"] is None


def test_times_say_their_offset() -> None:
    assert parse_time(format_time(1234567890.123456)) == 1234567890.123456
    assert parse_time("1970-01-01T09:00:01+09:00") == 1.0
    with pytest.raises(ValueError, match="offset"):
        parse_time("1970-01-01T09:00:01")


@pytest.mark.parametrize("data", [b"", b"one\n", "é".encode(), b"\xff\x00\n", b"caf\xc3"])
def test_log_records_survive_whatever_their_bytes(data: bytes) -> None:
    record = Record(3 << 32 | 7, 1.5, "stdout", data)
    view = json.loads(json.dumps(record_view(record)))
    assert (view["attempt"], record_from_view(view)) == (3, record)
