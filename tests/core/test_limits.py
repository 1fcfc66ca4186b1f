"""Limits by key: never more than there may be, and never longer than needed."""

from hypothesis import given
from hypothesis import strategies as st

from pumasi.core.job import KeyLimit
from pumasi.core.limits import free_at

rates = st.builds(KeyLimit, key=st.just("k"), count=st.integers(1, 5), period=st.floats(0.5, 100))


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
