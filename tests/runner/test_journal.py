"""A log on its way: what a flood leaves of it."""

from collections.abc import Sequence

from pumasi.core.job import Record
from pumasi.runner.journal import WAITING_BYTES, Journal


async def nowhere(records: Sequence[Record]) -> None:
    """No batch is sent before the end."""


async def test_of_a_flood_the_first_and_the_last_lines_are_kept_in_their_order() -> None:
    journal = Journal(1, nowhere)
    for n in range(100_000):
        journal.add("stdout" if n % 3 else "stderr", b"line %06d\n" % n)
    records = await journal.close()
    text = b"".join(record.data for record in records)
    assert b"line 000000\n" in text
    assert b"line 099999\n" in text
    assert len(text) <= WAITING_BYTES + 200
    (note,) = [n for n, record in enumerate(records) if record.stream == "system"]
    assert 0 < note < len(records) - 1
    assert f"… {100_000 * 12 - len(text) + len(records[note].data)} bytes left out" in records[note].data.decode()
    seqs = [record.seq for record in records]
    assert seqs == sorted(set(seqs))


async def test_what_is_no_flood_is_kept_whole() -> None:
    journal = Journal(1, nowhere)
    lines = [b"line %03d\n" % n for n in range(1000)]
    for line in lines:
        journal.add("stdout", line)
    assert b"".join(record.data for record in await journal.close()) == b"".join(lines)
