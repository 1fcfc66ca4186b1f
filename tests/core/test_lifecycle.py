"""The life of a job, over random sequences of what can happen to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pumasi.core import lifecycle
from pumasi.core.job import Cause, Job, Retry, State
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released
from pumasi.errors import LeaseLost

OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.just(Completed(result="1")),
    st.just(Cancelled()),
    st.builds(Failed, cause=st.sampled_from(Cause), error=st.just("why"), retryable=st.booleans()),
    st.builds(Released, reason=st.sampled_from(["drain", "sandbox"])),
)
JOBS = st.builds(
    Job,
    id=st.just("job"),
    script=st.just("s"),
    on_lost=st.sampled_from(["retry", "fail"]),
    retry=st.builds(Retry, max_attempts=st.integers(1, 4), delay=st.floats(0, 100), max_delay=st.floats(0, 1000)),
    expires_at=st.none() | st.floats(1, 500),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["claim", "settle", "stale", "cancel", "start", "sweep", "reclaim", "again"]),
        OUTCOMES,
        st.floats(0, 60),
        st.floats(0, 1, exclude_max=True),
    ),
    max_size=40,
)


def step(job: Job, what: str, outcome: Outcome, now: float, chance: float) -> Job:
    match what:
        case "claim" if lifecycle.claimable(job, now):
            token = f"token-{job.attempt + 1}"
            return lifecycle.claimed(job, worker="w", claim_id="c", token=token, now=now, lease=30.0)
        case "start" if job.state is State.RUNNING:
            return replace(job, started_at=now, lease_until=now + 30.0)
        case "settle" if job.token is not None and job.state is State.RUNNING:
            return lifecycle.settled(job, job.token, outcome, now, chance)
        case "again" if job.token is not None and job.state is not State.RUNNING:
            assert lifecycle.settled(job, job.token, outcome, now, chance) is job
        case "stale":
            with pytest.raises(LeaseLost):
                lifecycle.settled(job, "token-0", outcome, now, chance)
        case "cancel":
            return lifecycle.cancelled(job, now)
        case "sweep":
            return lifecycle.swept(job, now)
        case "reclaim":
            return lifecycle.reclaimed(job, now)
    return job


@given(JOBS, STEPS)
def test_a_job_has_one_ending_and_its_numbers_only_grow(
    job: Job, steps: list[tuple[str, Outcome, float, float]]
) -> None:
    now = 1.0
    job = lifecycle.submitted(job, now)
    for what, outcome, passes, chance in steps:
        now += passes
        after = step(job, what, outcome, now, chance)
        if job.ended:
            assert after is job
        assert after.attempt - job.attempt in (0, 1)
        assert (after.attempt > job.attempt) == (what == "claim" and after is not job)
        for counter in ("retries_used", "deaths", "fetch_faults", "sandbox_faults"):
            assert 0 <= getattr(after, counter) - getattr(job, counter) <= 1
        assert after.retries_used < max(after.retry.max_attempts, 1)
        assert after.deaths <= lifecycle.MAX_DEATHS
        assert after.sandbox_faults <= lifecycle.MAX_SANDBOX_FAULTS
        assert (after.ended_at is not None) == after.ended
        assert (after.state is State.COMPLETED) == (after.ended and after.cause is None)
        if after.state is State.PENDING:
            assert after.lease_until is None
            assert after.worker is None
        if job.on_lost == "fail" and job.started_at is not None and lifecycle.lapsed(job, now) and what == "reclaim":
            assert after.ended
        job = after


@given(JOBS, st.sampled_from(["drain", "sandbox"]))
def test_a_release_uses_no_try_and_keeps_the_place(job: Job, reason: str) -> None:
    job = replace(lifecycle.submitted(job, 1.0), expires_at=None)
    running = lifecycle.claimed(job, worker="w", claim_id="c", token="t", now=2.0, lease=30.0)
    after = lifecycle.settled(running, "t", Released(reason=reason), 3.0, 0.5)  # type: ignore[arg-type]
    assert (after.state, after.run_at, after.retries_used, after.deaths) == (State.PENDING, job.run_at, 0, 0)


@given(JOBS, OUTCOMES)
def test_a_run_that_completes_before_it_is_stopped_stays_completed_and_no_other_does(
    job: Job, outcome: Outcome
) -> None:
    job = replace(lifecycle.submitted(job, 1.0), expires_at=None)
    running = lifecycle.claimed(job, worker="w", claim_id="c", token="t", now=2.0, lease=30.0)
    after = lifecycle.settled(lifecycle.cancelled(running, 2.5), "t", outcome, 3.0, 0.5)
    assert after.state is (State.COMPLETED if isinstance(outcome, Completed) else State.CANCELLED)


@pytest.mark.parametrize("started", [True, False])
def test_deaths_count_once_the_run_was_started(started: bool) -> None:
    job = lifecycle.submitted(Job(id="job", script="s"), 1.0)
    for n in range(1, 6):
        job = lifecycle.claimed(job, worker="w", claim_id="c", token=f"t{n}", now=n * 100.0, lease=30.0)
        job = lifecycle.reclaimed(replace(job, started_at=n * 100.0 if started else None), n * 100.0 + 31)
        if job.ended:
            break
    assert (job.state, job.cause, job.deaths, n) == (
        (State.FAILED, Cause.LOST, 3, 3) if started else (State.PENDING, None, 0, 5)
    )
