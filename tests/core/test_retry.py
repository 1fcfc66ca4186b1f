"""When a failed run is tried again."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pumasi.core.job import Cause, Job, Retry
from pumasi.core.outcome import Failed
from pumasi.core.retry import FETCH_TRIES, backoff, retry_after
from tests.core.made import chances, jobs, retries


@given(retries, st.integers(0, 10**6), chances)
def test_full_jitter_lies_between_nothing_and_the_ceiling(retry: Retry, used: int, chance: float) -> None:
    wait = backoff(retry, used, chance)
    assert 0 <= wait <= retry.max_delay
    if used == 0:
        assert wait <= retry.delay
    assert backoff(retry, used, 0.0) == 0


def test_it_grows_by_the_factor_up_to_the_most() -> None:
    retry = Retry(delay=1, factor=2, max_delay=10)
    assert [backoff(retry, used, 0.5) for used in range(6)] == [0.5, 1, 2, 4, 5, 5]


def test_no_number_is_too_large() -> None:
    for factor in (2, 2.0, 1e308):
        assert backoff(Retry(delay=1e308, factor=factor, max_delay=60), 10**6, 0.5) == 30


@given(jobs, st.integers(0, 12), st.sampled_from(Cause), st.booleans(), chances)
def test_by_cause_and_number(job: Job, used: int, cause: Cause, retryable: bool, chance: float) -> None:
    job = replace(job, retries_used=used, fetch_faults=used)
    wait = retry_after(job, Failed(cause=cause, error="", retryable=retryable), chance)
    if cause is Cause.FETCH:  # tried whatever the job says
        assert (wait is not None) == (retryable and used + 1 < FETCH_TRIES)
        assert wait is None or wait <= 60
    else:
        assert (wait is not None) == (retryable and cause in job.retry.on and used + 1 < job.retry.max_attempts)
        assert wait is None or wait <= job.retry.max_delay


@given(retries, st.integers(0, 50), chances)
def test_it_is_the_chances_share_of_the_ceiling(retry: Retry, used: int, chance: float) -> None:
    ceiling = min(retry.max_delay, retry.delay * retry.factor**used)
    assert backoff(retry, used, chance) == chance * ceiling
