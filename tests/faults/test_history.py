"""Each rule lets a good history pass, and finds the one thing that is wrong with a bad one."""

import os
from pathlib import Path

import msgspec
import pytest

from pumasi.core.job import Job, Lease, State
from tests.faults.history import Broken, Event, History, broken, ended_as, merged

#: a job that two workers had: the first was paused past its lease, and came too late
GOOD = [
    Event(1, "client", "submit_ok", "a", state="pending"),
    Event(2, "w1", "claim", "a", 1, "t1"),
    Event(3, "w1", "exec_start", "a", 1, "t1"),
    Event(4, "eye", "observe", "a", 1, "t1", "running"),
    Event(5, "w2", "claim", "a", 2, "t2"),
    Event(6, "w2", "exec_start", "a", 2, "t2"),
    Event(7, "w2", "exec_end", "a", 2, "t2"),
    Event(8, "w2", "settle_ok", "a", 2, "t2", "completed", "done by 2"),
    Event(9, "w1", "exec_end", "a", 1, "t1"),
    Event(10, "w1", "settle_refused", "a", 1, "t1"),
    Event(11, "eye", "observe", "a", 2, "t2", "completed", "done by 2"),
]
#: one that must not run twice
ONCE = [
    Event(1, "client", "submit_ok", "o", state="pending", once=True),
    Event(2, "w1", "claim", "o", 1, "t1"),
    Event(3, "w1", "exec_start", "o", 1, "t1"),
    Event(11, "eye", "observe", "o", 1, "t1", "failed", "lost"),
]


def rules(events: list[Event], deadline: float = 100.0) -> set[str]:
    """Which rules these break."""
    return {found.rule for found in broken(sorted(events, key=lambda event: event.at), deadline)}


def test_a_good_history() -> None:
    assert rules(GOOD + ONCE) == set()


def test_a_run_that_was_told_twice_has_one_ending() -> None:
    assert rules([*GOOD, Event(9, "w2", "settle_ok", "a", 2, "t2", "completed", "done by 2")]) == set()


def test_a_run_that_failed_was_followed_by_another() -> None:
    failed = Event(4, "w1", "settle_ok", "a", 1, "t1", "pending")
    assert rules([*[event for event in GOOD if event.by != "w1"], *GOOD[1:3], failed]) == set()


def test_a_job_that_was_ended_by_the_broker_after_its_last_run_was_lost() -> None:
    assert rules([*ONCE[:3], Event(11, "eye", "observe", "o", 2, "t2", "cancelled", "cancelled")]) == set()


BAD = {
    "lost": GOOD[:3],
    "lost, though it was seen before": [*GOOD, Event(12, "eye2", "observe", "a")],
    "stuck": [*GOOD[:4]],
    "late": [*GOOD[:-1], Event(101, "eye", "observe", "a", 2, "t2", "completed", "done by 2")],
    "changed": [*GOOD, Event(12, "eye2", "observe", "a", 2, "t2", "completed", "done otherwise")],
    "changed, seen by who settled": [
        *GOOD[:7],
        Event(8, "w2", "settle_ok", "a", 2, "t2", "completed", "done otherwise"),
        *GOOD[8:],
    ],
    "reopened": [
        *GOOD,
        Event(12, "eye", "observe", "a", 3, "t3", "running"),
        Event(13, "eye2", "observe", "a", 2, "t2", "completed", "done by 2"),
    ],
    "settled twice": [*GOOD[:9], Event(10, "w1", "settle_ok", "a", 1, "t1", "completed", "done by 2"), GOOD[10]],
    "outdated": [*GOOD[:10], Event(11, "eye", "observe", "a", 1, "t1", "completed", "done by 2")],
    "outdated, claimed after its end": [*GOOD, Event(12, "w3", "claim", "a", 3, "t3")],
    "outdated, settled after its end": [*GOOD[:10], Event(10, "w3", "settle_ok", "a", 3, "t3", "pending"), GOOD[10]],
    "claimed twice": [*GOOD, Event(6, "w3", "claim", "a", 2, "t3")],
    "claimed twice, one token": [*GOOD, Event(6, "w3", "claim", "a", 2, "t2")],
    "run too often": [*GOOD, Event(6, "w2", "exec_start", "a", 2, "t2")],
    "run too often, under no attempt": [*GOOD, Event(6, "w2", "exec_start", "a", 7)],
    "run again": [
        *ONCE[:3],
        Event(4, "w2", "claim", "o", 2, "t2"),
        Event(5, "w2", "exec_start", "o", 2, "t2"),
        Event(11, "eye", "observe", "o", 2, "t2", "failed", "lost"),
    ],
}


@pytest.mark.parametrize("rule", BAD)
def test_a_bad_history(rule: str) -> None:
    assert rules(BAD[rule]) == {rule.partition(",")[0]}


def test_what_is_broken_says_for_which_job() -> None:
    (found,) = broken(BAD["stuck"])
    assert found == Broken("stuck", "a", "it was running at the end, in attempt 1")


def a_job(**values: object) -> Job:
    return msgspec.structs.replace(Job(id="a", script="s", attempt=1, token="t1"), **values)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    client, worker, eye = (History(tmp_path, by) for by in ("client", "w1", "eye"))
    lease = Lease(job=a_job(state=State.RUNNING), token="t1", expires_in=1.0)
    done = a_job(state=State.COMPLETED, result="1", ended_at=5.0)
    client.submitted(a_job(on_lost="fail"))
    worker.claimed(lease)
    worker.exec_start(lease)
    worker.exec_end(lease)
    eye.observed("a", lease.job)
    worker.settled(lease, done)
    worker.refused(lease)
    eye.observed("a", done)
    eye.observed("b", None)
    for history in (client, worker, eye):
        history.close()
    events = merged(tmp_path)
    assert [(event.by, event.what, event.state) for event in events] == [
        ("client", "submit_ok", "pending"),
        ("w1", "claim", ""),
        ("w1", "exec_start", ""),
        ("w1", "exec_end", ""),
        ("eye", "observe", "running"),
        ("w1", "settle_ok", "completed"),
        ("w1", "settle_refused", ""),
        ("eye", "observe", "completed"),
        ("eye", "observe", ""),
    ]
    assert events[0].once
    assert events[5].ending == events[7].ending != ""
    assert ended_as(events) == {State.COMPLETED: 1}
    assert broken(events) == []


def test_what_was_not_written_whole_is_left_out(tmp_path: Path) -> None:
    history = History(tmp_path, "w1")
    history.observed("a", None)
    history.observed("b", None)
    history.close()
    (file,) = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - 3)
    assert [event.job for event in merged(tmp_path)] == ["a"]


def test_nobody_saw_anything(tmp_path: Path) -> None:
    History(tmp_path, "w1").close()
    assert merged(tmp_path) == []
    assert broken([]) == []
