"""The life of a job, whatever happens to it in whatever order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pumasi.core import lifecycle
from pumasi.core.job import Cause, Job, Retry, State
from pumasi.core.outcome import Completed, Failed, Outcome, Released
from pumasi.core.retry import FETCH_TRIES
from pumasi.errors import LeaseLost
from tests.core.made import chances, jobs, outcomes

LEASE = 30.0

#: something that may happen: what, and what it needs
happenings = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 100)),
    st.tuples(st.just("claim"), st.just(None)),
    st.tuples(st.just("start"), st.just(None)),
    st.tuples(st.just("settle"), st.tuples(outcomes, chances)),
    st.tuples(st.just("settle late"), st.tuples(outcomes, chances)),
    st.tuples(st.just("cancel"), st.just(None)),
    st.tuples(st.just("sweep"), st.just(None)),
    st.tuples(st.just("reclaim"), st.just(None)),
)


class Life:
    """A job to which things happen."""

    def __init__(self, job: Job) -> None:
        self.now = 1000.0
        self.job = lifecycle.submitted(job, self.now)
        self.tokens: list[str] = []

    def happens(self, what: str, how: Any) -> None:
        """One thing; the record changes as the functions say."""
        match what:
            case "wait":
                self.now += how
            case "claim" if lifecycle.claimable(self.job, self.now):
                self.tokens.append(f"t{len(self.tokens)}")
                self.job = lifecycle.claimed(
                    self.job, worker="w", claim_id="c", token=self.tokens[-1], now=self.now, lease=LEASE
                )
            case "start" if self.job.state is State.RUNNING:
                self.job = replace(self.job, started_at=self.now)
            case "settle" if self.tokens and self.job.token:
                self.job = lifecycle.settled(self.job, self.tokens[-1], how[0], self.now, how[1])
            case "settle late" if len(self.tokens) > 1:
                with pytest.raises(LeaseLost):
                    lifecycle.settled(self.job, self.tokens[0], how[0], self.now, how[1])
            case "cancel":
                self.job = lifecycle.cancelled(self.job, self.now)
            case "sweep":
                self.job = lifecycle.swept(self.job, self.now)
            case "reclaim":
                self.job = lifecycle.reclaimed(self.job, self.now)


def what_must_hold(before: Job, after: Job, now: float) -> None:
    """The invariants of one step."""
    if before.ended:
        assert after is before
    assert after.attempt - before.attempt in (0, 1)
    for counter in ("retries_used", "deaths", "fetch_faults", "sandbox_faults"):
        assert 0 <= getattr(after, counter) - getattr(before, counter) <= 1
    assert after.retries_used < after.retry.max_attempts
    assert after.deaths <= lifecycle.MAX_DEATHS
    assert after.fetch_faults <= FETCH_TRIES
    assert after.sandbox_faults <= lifecycle.MAX_SANDBOX_FAULTS
    assert after.ended == (after.ended_at is not None)
    assert (after.state is State.RUNNING) == (after.lease_until is not None)
    if after.state is State.RUNNING:
        assert after.token
        assert after.worker
    if after.state is State.COMPLETED:
        assert (after.cause, after.error) == (None, None)
    if after.state in (State.FAILED, State.CANCELLED):
        assert after.cause is not None
        assert after.error is not None
    if after.state is State.PENDING:
        assert not after.cancel_requested
        assert after.worker is None
    if after.ended and not before.ended:
        assert after.ended_at == now


@given(jobs, st.lists(happenings, max_size=40))
def test_whatever_happens(job: Job, course: list[tuple[str, Any]]) -> None:
    life = Life(job)
    for what, how in course:
        before = life.job
        life.happens(what, how)
        what_must_hold(before, life.job, life.now)
        for name in ("id", "script", "parameters", "queue", "priority", "created_at", "retry", "limit", "labels"):
            assert getattr(life.job, name) == getattr(before, name)


@given(jobs, st.lists(happenings, max_size=15))
def test_every_life_ends_when_somebody_sees_to_it(job: Job, course: list[tuple[str, Any]]) -> None:
    """From wherever it stands, a few more steps lead to an ending: nothing hangs for ever."""
    life = Life(replace(job, run_at=0.0))
    for what, how in course:
        life.happens(what, how)
    for _ in range(40):
        if life.job.ended:
            return
        life.now += 1e11
        life.happens("sweep", None)
        life.happens("reclaim", None)
        life.happens("claim", None)
        life.happens("start", None)
        life.happens("settle", (Failed(cause=Cause.EXIT, error="x"), 0.5))
    raise AssertionError(life.job)


@given(jobs, outcomes, chances)
def test_a_wrong_token_is_refused_in_every_state(job: Job, outcome: Outcome, chance: float) -> None:
    life = Life(replace(job, run_at=0.0, expires_at=None))
    for step in ("submitted", "claim", "cancel"):
        life.happens(step, None)
        with pytest.raises(LeaseLost):
            lifecycle.settled(life.job, "forged", outcome, life.now, chance)


@given(jobs, outcomes, chances)
def test_a_repeated_settle_changes_nothing(job: Job, outcome: Outcome, chance: float) -> None:
    life = Life(replace(job, run_at=0.0, expires_at=None))
    life.happens("claim", None)
    once = lifecycle.settled(life.job, "t0", outcome, life.now, chance)
    assert lifecycle.settled(once, "t0", outcome, life.now + 5, 1 - chance) is once


@given(jobs, st.integers(1, 6))
def test_releases_use_no_tries(job: Job, n: int) -> None:
    life = Life(replace(job, run_at=5.0, expires_at=None))
    for attempt in range(1, n + 1):
        life.happens("claim", None)
        assert life.job.attempt == attempt
        life.happens("settle", (Released(), 0.0))
        assert (life.job.state, life.job.run_at) == (State.PENDING, 5.0)
        assert (life.job.retries_used, life.job.deaths, life.job.sandbox_faults) == (0, 0, 0)


@given(jobs, outcomes)
def test_of_cancelled_runs_only_one_that_completes_is_not_cancelled(job: Job, outcome: Outcome) -> None:
    life = Life(replace(job, run_at=0.0, expires_at=None))
    life.happens("claim", None)
    life.happens("cancel", None)
    assert life.job.state is State.RUNNING
    life.happens("settle", (outcome, 0.5))
    assert life.job.state is (State.COMPLETED if isinstance(outcome, Completed) else State.CANCELLED)


@given(jobs, chances)
def test_failures_are_tried_as_often_as_the_rule_says(job: Job, chance: float) -> None:
    retry = replace(job.retry, on=(*job.retry.on, Cause.EXIT))
    life = Life(replace(job, run_at=0.0, expires_at=None, retry=retry))
    tries = 0
    while not life.job.ended:
        life.now += 1e6
        life.happens("claim", None)
        life.happens("settle", (Failed(cause=Cause.EXIT, error="x"), chance))
        tries += 1
    assert tries == job.retry.max_attempts
    assert (life.job.state, life.job.cause) == (State.FAILED, Cause.EXIT)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("on_lost", ["retry", "fail"])
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_lost_run(started: bool, on_lost: Any, cancelled: bool) -> None:
    life = Life(Job(id="a", script="s", on_lost=on_lost))
    life.happens("claim", None)
    if started:
        life.happens("start", None)
    if cancelled:
        life.happens("cancel", None)
    life.now += LEASE - 1
    assert lifecycle.reclaimed(life.job, life.now) is life.job
    life.now += 1
    after = lifecycle.reclaimed(life.job, life.now)
    swept = lifecycle.swept(life.job, life.now)
    if cancelled:
        assert after == swept
        assert after.state is State.CANCELLED
    elif started and on_lost == "fail":
        assert after == swept
        assert (after.state, after.cause) == (State.FAILED, Cause.LOST)
    else:
        assert swept is life.job
        assert (after.state, after.token, after.deaths) == (State.PENDING, None, int(started))


def test_what_the_submitter_says_of_its_fate_is_not_believed() -> None:
    job = lifecycle.submitted(
        Job(id="a", script="s", state=State.COMPLETED, result="1", attempt=5, token="t", revision=3), 7.0
    )
    assert job == Job(id="a", script="s", created_at=7.0, run_at=7.0)
    assert lifecycle.submitted(Job(id="a", script="s", run_at=9.0, retry=Retry(max_attempts=2)), 7.0).run_at == 9.0
