"""Bounded capture, lines of any length, and what is held back from the log."""

import os

from hypothesis import given
from hypothesis import strategies as st

from pumasi.runner.output import HELD, TAIL, Capture, Lines, Pipe, Withheld

CHUNKS = st.lists(st.binary(max_size=40), max_size=30)


@given(CHUNKS, st.integers(0, 100))
def test_a_capture_keeps_the_first_bytes_knows_the_last_and_counts_all(chunks: list[bytes], keep: int) -> None:
    capture = Capture(keep)
    for chunk in chunks:
        capture.feed(chunk)
    data = b"".join(chunks)
    assert capture.total == len(data)
    assert capture.whole == (data if len(data) <= keep else None)
    assert capture.first(10) == data[:keep][:10]
    assert capture.last(15) == data[-15:]


def test_a_flood_leaves_no_more_than_head_and_tail() -> None:
    capture = Capture(1000)
    for n in range(2000):
        capture.feed(f"{n:09}\n".encode() * 100)
    assert capture.total == 2_000_000
    assert capture.last(20) == b"000001999\n" * 2
    assert len(capture.last(10**9)) <= 2 * TAIL + 1000


@given(CHUNKS, st.integers(1, 20))
def test_lines_come_whole_or_in_pieces_and_nothing_is_lost(chunks: list[bytes], limit: int) -> None:
    lines = Lines(limit)
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    assert b"".join(found) == b"".join(b"".join(chunks).split(b"\n"))[: sum(map(len, found))]


def held(*chunks: str, taken: bool) -> str:
    given: list[bytes] = []
    withheld = Withheld(given.append)
    for chunk in chunks:
        withheld.feed(chunk.encode())
    withheld.finish(taken)
    return b"".join(given).decode()


def test_a_result_on_the_last_line_is_not_logged() -> None:
    assert held("page 1\npage 2\n", '{"pages"', ": 2}\n", taken=True) == "page 1\npage 2\n"


def test_a_pretty_printed_result_is_not_logged() -> None:
    assert held("{\n", '  "a": [\n    1\n  ]\n}\n', taken=True) == ""


def test_lines_that_only_look_like_json_are_logged_as_they_come() -> None:
    given: list[bytes] = []
    withheld = Withheld(given.append)
    withheld.feed(b"[1/10] page\n[2/10] page\n")
    assert given == [b"[1/10] page\n"]


@given(st.lists(st.text('{}[]ab"1\n ', max_size=20), max_size=20))
def test_what_was_not_taken_is_logged_whole_and_in_order(chunks: list[str]) -> None:
    assert held(*chunks, taken=False) == "".join(chunks)


def test_output_that_stays_json_too_long_is_let_go() -> None:
    given: list[bytes] = []
    withheld = Withheld(given.append)
    withheld.feed(b"[\n" + b"1,\n" * HELD)
    assert given


async def test_a_pipe_hands_over_what_was_written_and_ends_with_its_writers() -> None:
    got: list[bytes] = []
    pipe = Pipe(got.append)
    os.write(pipe.writer, b"hello")
    pipe.close_writer()
    pipe.drain()
    pipe.close()
    assert b"".join(got) == b"hello"
