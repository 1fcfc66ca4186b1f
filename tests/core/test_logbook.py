"""How much of a log is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.core.job import Progress, Record
from pumasi.core.logbook import RECORD_BYTES, dropped, last_progress, weight
from pumasi.errors import Invalid

logs = st.lists(st.integers(0, 40), max_size=60).map(lambda sizes: list(enumerate(sizes)))


@given(logs, st.integers(0, 200), st.integers(0, 200))
def test_the_bound_holds_and_both_ends_are_kept(log: list[tuple[int, int]], head: int, tail: int) -> None:
    gone = set(dropped(log, head, tail))
    kept = [(seq, size) for seq, size in log if seq not in gone]
    assert sum(size for _, size in kept) <= head + tail
    assert not gone or gone <= set(range(min(gone), max(gone) + 1))
    assert gone == set(range(min(gone), max(gone) + 1)) if gone else True  # one gap, no more
    used = 0
    for seq, size in log:  # what fits into the head is kept
        used += size
        if used > head:
            break
        assert seq not in gone
    used = 0
    for seq, size in reversed(log):  # what fits into the tail is kept
        used += size
        if used > tail:
            break
        assert seq not in gone


@given(logs, st.integers(0, 200), st.integers(0, 200))
def test_what_is_kept_is_kept_the_next_time(log: list[tuple[int, int]], head: int, tail: int) -> None:
    gone = set(dropped(log, head, tail))
    assert dropped([entry for entry in log if entry[0] not in gone], head, tail) == []


def test_a_small_log_is_kept_whole() -> None:
    assert dropped([]) == []
    assert dropped([(n, 1024) for n in range(1024)]) == []
    assert dropped([(n, 1024) for n in range(1030)]) == list(range(256, 262))


def test_a_record_weighs_more_than_its_data() -> None:
    assert weight(Record(1, 0.0, "stdout", b"12345")) == 5 + RECORD_BYTES


def record(data: bytes, stream: str = "progress") -> Record:
    return Record(1, 0.0, stream, data)


def test_the_last_progress_counts() -> None:
    assert last_progress([]) is None
    assert last_progress([record(b"line", "stdout")]) is None
    records = [record(b'[1,2,"a"]'), record(b'[2,null,"b"]'), record(b"line", "stdout")]
    assert last_progress(records) == Progress(2, None, "b")


@pytest.mark.parametrize("data", [b"", b"x", b"{}", b"[1,2]", b"[null,1,null]", b'["1",2,""]', b"\xff\xfe"])
def test_a_progress_that_tells_nothing(data: bytes) -> None:
    with pytest.raises(Invalid):
        last_progress([record(data)])
