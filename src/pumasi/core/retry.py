"""When a failed run is tried again. Pure: a job and an outcome in, a delay or nothing out."""

from pumasi.core.job import Cause, Job, Retry
from pumasi.core.outcome import Failed

#: fetching is our business, so it is tried again whatever the job says
FETCH_TRIES = 3
_FETCH = Retry(max_attempts=FETCH_TRIES, delay=1.0, factor=4.0, max_delay=60.0)


def backoff(retry: Retry, retries_used: int, chance: float) -> float:
    """Seconds to wait before the next try: exponential backoff with full jitter.

    `chance` is drawn from [0, 1). Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    """
    try:
        ceiling = min(retry.max_delay, retry.delay * retry.factor**retries_used)
    except OverflowError:
        ceiling = retry.max_delay
    return chance * ceiling


def retry_after(job: Job, outcome: Failed, chance: float) -> float | None:
    """Seconds until `job` is due again after this failure, or None when it has failed for good."""
    if outcome.cause is Cause.FETCH:
        if not outcome.retryable or job.fetch_faults + 1 >= FETCH_TRIES:
            return None
        return backoff(_FETCH, job.fetch_faults, chance)
    if not outcome.retryable or outcome.cause not in job.retry.on:
        return None
    if job.retries_used + 1 >= job.retry.max_attempts:
        return None
    return backoff(job.retry, job.retries_used, chance)
