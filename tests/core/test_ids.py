"""Ids: version 7 as RFC 9562 has it, and always increasing."""

import threading
import time
import uuid
from itertools import pairwise

import pytest

from pumasi.core import ids
from pumasi.core.ids import new_id, new_token


@pytest.fixture(autouse=True)
def no_id_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id made for a time to come would push all later ones there."""
    monkeypatch.setattr(ids, "_last", 0)


def test_the_fields_are_those_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    id = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert (id.version, id.variant) == (7, uuid.RFC_4122)
    assert before <= id.int >> 80 <= after
    assert str(id) == str(id).lower()


def test_they_increase_within_a_process() -> None:
    made = [new_id() for _ in range(20_000)]
    assert all(one < two for one, two in pairwise(made))


def test_they_increase_though_the_clock_is_set_back() -> None:
    now = time.time()
    made = [new_id(now), new_id(now - 3600), new_id(now), new_id(0.0)]
    assert all(one < two for one, two in pairwise(made))


def test_they_are_unique_and_increase_in_every_thread() -> None:
    made: list[list[str]] = []

    def make() -> None:
        made.append([new_id() for _ in range(3000)])

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id for batch in made for id in batch}) == 18_000
    assert all(one < two for batch in made for one, two in pairwise(batch))


def test_the_random_part_is_random() -> None:
    parts = {uuid.UUID(new_id()).int & (2**62 - 1) for _ in range(1000)}
    assert len(parts) == 1000
    assert all(any(part >> bit & 1 for part in parts) for bit in range(62))


def test_tokens_are_long_and_never_alike() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert {len(token) for token in tokens} == {32}
