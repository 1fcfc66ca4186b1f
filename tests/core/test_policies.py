"""Retries, limits by key, ids and the bounds of logs, as laws over all inputs."""

import json
import threading
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.core.ids import new_id
from pumasi.core.job import Cause, Job, KeyLimit, Limits, Progress, Retry
from pumasi.core.limits import free_at
from pumasi.core.logbook import dropped
from pumasi.core.outcome import Failed
from pumasi.core.retry import FETCH_TRIES, backoff, retry_after

CHANCE = st.floats(0, 1, exclude_max=True)
RETRIES = st.builds(
    Retry,
    max_attempts=st.integers(1, 10),
    delay=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    max_delay=st.floats(0, 1e6),
)


@given(RETRIES, st.integers(0, 10_000), CHANCE)
def test_a_wait_is_drawn_from_the_whole_span_below_a_ceiling_that_grows(retry: Retry, used: int, chance: float) -> None:
    wait = backoff(retry, used, chance)
    ceiling = backoff(retry, used, 1.0)
    assert wait == pytest.approx(chance * ceiling)
    assert 0 <= wait <= ceiling <= retry.max_delay
    assert ceiling <= backoff(retry, used + 1, 1.0) or ceiling == pytest.approx(backoff(retry, used + 1, 1.0))


@given(RETRIES, st.integers(0, 12), st.sampled_from(Cause), st.booleans(), CHANCE)
def test_a_run_is_tried_again_only_for_a_cause_of_the_rule_and_while_tries_are_left(
    retry: Retry, used: int, cause: Cause, retryable: bool, chance: float
) -> None:
    job = Job(id="job", script="s", retry=retry, retries_used=used, fetch_faults=used)
    again = retry_after(job, Failed(cause=cause, error="", retryable=retryable), chance) is not None
    if cause is Cause.FETCH:
        assert again == (retryable and used + 1 < FETCH_TRIES)
    else:
        assert again == (retryable and cause in retry.on and used + 1 < retry.max_attempts)


@given(st.lists(st.floats(0, 30), max_size=60), st.integers(1, 5), st.floats(1, 60))
def test_no_window_holds_more_starts_than_the_rate_allows(waits: list[float], count: int, period: float) -> None:
    limit = KeyLimit(key="k", count=count, period=period)
    now, starts = 0.0, list[float]()
    for wait in waits:
        now += wait
        free = free_at(limit, 0, starts, now)
        assert free is not None
        if free <= now:
            starts.append(now)
        else:
            at_last = free_at(limit, 0, starts, free)
            assert at_last is not None
            assert at_last <= free
    for first in starts:
        assert sum(1 for at in starts if first <= at < first + period) <= count


@given(st.integers(1, 5), st.integers(0, 10))
def test_no_more_run_at_a_time_than_may(concurrency: int, running: int) -> None:
    free = free_at(KeyLimit(key="k", concurrency=concurrency), running, [], 7.0)
    assert free == (7.0 if running < concurrency else None)


@given(st.lists(st.integers(0, 50), max_size=80), st.integers(0, 200), st.integers(0, 200))
def test_a_log_keeps_its_beginning_and_its_end(sizes: list[int], head: int, tail: int) -> None:
    log = list(enumerate(sizes))
    gone = set(dropped(log, head, tail))
    kept = [(seq, size) for seq, size in log if seq not in gone]
    assert sum(size for _, size in kept) <= head + tail + (0 if sum(sizes) > head + tail else sum(sizes))
    used = 0
    for seq, size in log:
        used += size
        if used > head:
            break
        assert seq not in gone
    if gone:
        assert gone == set(range(min(gone), max(gone) + 1))


def test_ids_are_uuids_of_version_seven_that_sort_by_when_they_were_made() -> None:
    ids: list[str] = []
    made = [threading.Thread(target=lambda: ids.extend(new_id() for _ in range(500))) for _ in range(4)]
    for thread in made:
        thread.start()
    for thread in made:
        thread.join()
    assert len(set(ids)) == 2000
    ours = [new_id() for _ in range(500)]
    assert ours == sorted(ours)
    for id in ids[:50]:
        assert (uuid.UUID(id).version, uuid.UUID(id).variant) == (7, uuid.RFC_4122)
    later = 4_000_000_000.0
    assert uuid.UUID(new_id(later)).int >> 80 == int(later * 1000)


@given(
    st.builds(
        Job,
        id=st.text(min_size=1, max_size=128),
        script=st.text(max_size=20),
        parameters=st.none() | st.dictionaries(st.text(), st.text()).map(json.dumps),
        args=st.none() | st.lists(st.text()).map(tuple),
        labels=st.dictionaries(st.text(), st.text()),
        limits=st.builds(Limits, memory=st.none() | st.integers(0, 2**62), cpu=st.none() | st.floats(0, 1e9)),
        limit=st.none() | st.builds(KeyLimit, key=st.text(), count=st.none() | st.integers(1, 100)),
        cause=st.none() | st.sampled_from(Cause),
        progress=st.none() | st.builds(Progress, st.floats(0, 1e9), st.none() | st.floats(0, 1e9), st.text()),
        phases=st.dictionaries(st.text(), st.floats(0, 1e9)),
    )
)
def test_a_job_is_the_same_after_a_store_had_it(job: Job) -> None:
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=Job) == job
