"""Limits by key: never more than there may be, and never longer than needed."""

from hypothesis import given
from hypothesis import strategies as st

from pumasi.core.job import KeyLimit
from pumasi.core.limits import free_at

rates = st.builds(KeyLimit, key=st.just("k"), count=st.integers(1, 5), period=st.floats(0.5, 100))


whole = st.integers(0, 50).map(float)


@given(st.integers(1, 5), st.integers(1, 100), st.lists(whole, max_size=60), st.booleans())
def test_never_more_than_count_in_any_period(count: int, period: int, waits: list[float], patient: bool) -> None:
    """Whoever goes when it may, or waits until then: the window holds wherever it is laid."""
    limit = KeyLimit(key="k", count=count, period=float(period))
    now, starts = 0.0, list[float]()
    for wait in waits:
        now += wait
        free = free_at(limit, 0, starts, now)
        assert free is not None
        if patient:
            now = max(now, free)
        if free <= now:
            starts.append(now)
    for first in starts:
        assert sum(1 for at in starts if first <= at < first + period) <= count
    if patient:
        assert len(starts) == len(waits)


@given(st.integers(1, 5), st.integers(0, 9))
def test_concurrency_waits_for_an_end(concurrency: int, running: int) -> None:
    limit = KeyLimit(key="k", concurrency=concurrency)
    assert free_at(limit, running, [], 7.0) == (7.0 if running < concurrency else None)


@given(rates, st.lists(st.floats(0, 50), max_size=30), st.floats(0, 60))
def test_it_says_the_first_moment_that_is_free(limit: KeyLimit, times: list[float], now: float) -> None:
    starts = sorted(at for at in times if at <= now)
    free = free_at(limit, 0, starts, now)
    assert free is not None
    if free > now:
        just_before = (now + free) / 2
        again = free_at(limit, 0, starts, just_before)
        assert again is not None
        assert again > just_before or again == free


def test_both_must_allow() -> None:
    limit = KeyLimit(key="k", concurrency=2, count=1, period=10)
    assert free_at(limit, 2, [], 0.0) is None
    assert free_at(limit, 1, [5.0], 6.0) == 15.0
    assert free_at(limit, 1, [5.0], 15.0) == 15.0


def test_no_numbers_no_limit() -> None:
    assert free_at(KeyLimit(key="k"), 10**6, [1.0] * 1000, 3.0) == 3.0
