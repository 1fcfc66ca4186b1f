"""What a job may look like at all: the bounds that hold whoever submits it, and by whatever way.

They keep the promises tellable (an id fits a URL and a key), the stores safe (numbers that every one of them can hold)
and the records small. What makes sense for a script is checked before, where names for people are at hand.
"""

from collections.abc import Callable
from math import isfinite

import msgspec

from pumasi.core.job import MAX_ID, MAX_PARAMETERS, Job, KeyLimit, Retry
from pumasi.core.order import PRIORITIES
from pumasi.errors import Invalid

#: bytes of a whole record as JSON, parameters included
MAX_RECORD = 2 * MAX_PARAMETERS
#: the greatest number that every store can hold
MAX_INTEGER = 2**63 - 1
MAX_SEQ = MAX_INTEGER

_encoder = msgspec.json.Encoder()


def checked(job: Job) -> Job:
    """The job as it is. Raises: Invalid, when no broker may take it; the message says what to change."""
    for holds, text in _RULES:
        if not holds(job):
            raise Invalid(text)
    try:
        size = len(_encoder.encode(job))
    except (UnicodeEncodeError, ValueError) as error:
        raise Invalid("a text of the job is no valid Unicode; leave out lone surrogates") from error
    if size > MAX_RECORD:
        raise Invalid("the job is {size} bytes as JSON; at most {most} are kept", size=size, most=MAX_RECORD)
    return job


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_ID and text.isprintable()


def _is_time(value: float | None) -> bool:
    return value is None or (isfinite(value) and value >= 0)


def _is_limit(limit: KeyLimit | None) -> bool:
    return limit is None or (
        bool(limit.key)
        and (limit.concurrency is None or 0 < limit.concurrency <= MAX_INTEGER)
        and (limit.count is None or 0 < limit.count <= MAX_INTEGER)
        and isfinite(limit.period)
        and limit.period > 0
    )


def _is_retry(retry: Retry) -> bool:
    return retry.max_attempts >= 1 and all(
        isfinite(value) and value >= 0 for value in (retry.delay, retry.factor, retry.max_delay)
    )


def _fits(job: Job) -> bool:
    # characters first: counting bytes copies the text
    text = job.parameters or ""
    return len(text) <= MAX_PARAMETERS and len(text.encode(errors="replace")) <= MAX_PARAMETERS


_RULES: tuple[tuple[Callable[[Job], bool], str], ...] = (
    (
        lambda job: _is_name(job.id) and "/" not in job.id,
        "an id has 1 to 128 printable characters, and no slash; leave it out to have one made",
    ),
    (lambda job: _is_name(job.queue), "the name of a queue has 1 to 128 printable characters"),
    (lambda job: bool(job.script), "a job names a script"),
    (lambda job: job.priority in PRIORITIES, "a priority lies between 0 and 9; 9 is most urgent"),
    (_fits, "parameters are at most 1 MiB of JSON; pass large data as a file or a URL"),
    (
        lambda job: _is_time(job.run_at) and _is_time(job.expires_at),
        "run_at and expires_at are Unix seconds, 0 or later",
    ),
    (
        lambda job: job.timeout is None or (isfinite(job.timeout) and job.timeout > 0),
        "timeout is a number of seconds above 0",
    ),
    (lambda job: 0 <= job.required_memory <= MAX_INTEGER, "required_memory is a number of bytes, 0 or more"),
    (
        lambda job: _is_limit(job.limit),
        "a keyed limit has a key, a concurrency and a count of at least 1, a period > 0",
    ),
    (lambda job: _is_retry(job.retry), "a retry rule has max_attempts of at least 1, and delays of 0 s or more"),
)
