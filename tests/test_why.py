"""Why a pending job waits."""

import pytest

from pumasi.core.job import Cause, Job, KeyLimit, Queue, State, Worker
from pumasi.locale import set_language
from pumasi.why import why_waiting

NOW = 1000.0
MB = 1024 * 1024


@pytest.fixture(autouse=True)
def english() -> object:
    """The sentences in English."""
    set_language("en")
    yield
    set_language(None)


def job(id: str = "m", **fields: object) -> Job:
    return Job(**{"id": id, "script": "s", "created_at": 900.0, "run_at": 900.0, **fields})  # type: ignore[arg-type]


def worker(**fields: object) -> Worker:
    defaults = {
        "id": "w",
        "queues": ("default",),
        "slots_total": 2,
        "memory_total": 1000 * MB,
        "memory_free": 1000 * MB,
    }
    return Worker(**{**defaults, **fields})  # type: ignore[arg-type]


def why(waiting: Job, **given: object) -> list[str]:
    known = {"now": NOW, "queue": Queue(name="default"), "workers": [worker()], "others": [waiting]}
    return why_waiting(waiting, **{**known, **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED])
def test_only_a_pending_job_waits(state: State) -> None:
    assert why(job(state=state)) == []


def test_not_due_yet() -> None:
    assert why(job(run_at=NOW + 90)) == ["it is due in 1m30s"]


def test_waiting_for_its_next_attempt() -> None:
    retried = job(run_at=NOW + 2, retries_used=1, attempt=1, cause=Cause.EXIT)
    assert why(retried) == ["attempt 1 failed (exit), it is tried again", "it is due in 2s"]


def test_its_queue_is_paused() -> None:
    paused = Queue(name="default", paused=True)
    assert why(job(), queue=paused) == ["queue default is paused; `pumasi queues resume default` lets it go on"]


def test_no_worker_is_alive() -> None:
    alone = ["no worker is alive; start one with `pumasi worker`"]
    assert why(job(), workers=[]) == alone
    assert why(job(), workers=[worker(status="lost"), worker(status="draining")]) == alone


def test_no_worker_serves_its_queue() -> None:
    assert why(job(queue="big"), queue=None) == [
        "no worker serves queue big; start one with `pumasi worker --queue big`"
    ]


def test_it_needs_more_memory_than_any_worker_has() -> None:
    assert why(job(required_memory=2000 * MB)) == ["it needs 2 GB of memory, and no worker has more than 1000 MB"]


def test_its_key_lets_no_more_run() -> None:
    limited = job(limit=KeyLimit(key="shop", concurrency=1))
    running = job("a", state=State.RUNNING, limit=KeyLimit(key="shop", concurrency=1))
    assert why(limited, others=[limited, running]) == ["limit 'shop' lets 1 run at a time, and so many do"]


def test_its_key_lets_no_more_start_now() -> None:
    limit = KeyLimit(key="shop", count=1, period=60)
    running = job("a", state=State.RUNNING, limit=limit, claimed_at=NOW - 20)
    assert why(job(limit=limit), others=[running]) == ["limit 'shop' lets 1 start per 1m; the next may in 40s"]


def test_a_free_key_is_no_reason() -> None:
    limit = KeyLimit(key="shop", concurrency=2, count=5)
    assert why(job(limit=limit)) == ["it is next; a worker will take it in a moment"]


def test_jobs_that_are_ahead_by_priority_due_time_and_id() -> None:
    me = job("m")
    ahead = [job("z", priority=1), job("y", run_at=800.0), job("a")]
    behind = [job("n"), job("b", run_at=950.0), job("c", run_at=NOW + 5, priority=9), job("d", queue="x", priority=9)]
    assert why(me, others=[me, *ahead, *behind]) == ["3 jobs are ahead of it"]
    assert why(me, others=[me, *ahead, *behind], more=True) == ["at least 3 jobs are ahead of it"]


def test_next_but_every_slot_is_taken() -> None:
    assert why(job(), workers=[worker(slots_used=2)]) == [
        "it is next; all slots of the workers that serve its queue are taken"
    ]


def test_next_but_memory_is_taken() -> None:
    assert why(job(), workers=[worker(memory_free=MB)]) == [
        "it is next; no worker has 128 MB of memory free for it now"
    ]


def test_several_reasons_are_all_told() -> None:
    assert len(why(job(), workers=[], queue=Queue(name="default", paused=True))) == 2
