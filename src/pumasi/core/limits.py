"""Limits by key, as the claim applies them: how many run, how many have started lately, and when the next may."""

from collections.abc import Sequence

from pumasi.core.job import KeyLimit


def free_at(limit: KeyLimit, running: int, starts: Sequence[float], now: float) -> float | None:
    """When a job under `limit` may start: `now` or earlier means at once, None means when one that runs has ended.

    `starts` are the times of earlier starts under the key, oldest first; those before `now - period` do not count.
    The rate is a sliding window: never more than `count` starts in any `period` seconds.
    """
    if limit.concurrency is not None and running >= limit.concurrency:
        return None
    if limit.count is None:
        return now
    recent = [at for at in starts if at > now - limit.period]
    if len(recent) < limit.count:
        return now
    return recent[-limit.count] + limit.period
