"""How much of a job's log is kept: its first and its last bytes. What falls between is dropped and shows as a gap."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from pumasi.core.job import Progress, Record
from pumasi.errors import Invalid

HEAD_BYTES = 256 * 1024
TAIL_BYTES = 768 * 1024
#: a store may let a log grow by this much before it trims, so that trimming is rare
SLACK_BYTES = 64 * 1024
#: what a record counts beside its data: a flood of empty ones is bounded too
RECORD_BYTES = 32

_progress = msgspec.json.Decoder(tuple[float, float | None, str])


def weight(record: Record) -> int:
    """What a record counts towards the bound, in bytes."""
    return len(record.data) + RECORD_BYTES


def dropped(sizes: Sequence[tuple[int, int]], head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> list[int]:
    """The seqs to drop from a log of `(seq, size)` in order: beyond the first `head` bytes, not in the last `tail`."""
    rest = sizes[bisect_right(list(accumulate(size for _, size in sizes)), head) :]
    excess = sum(size for _, size in rest) - tail
    gone: list[int] = []
    for seq, size in rest:
        if excess <= 0:
            break
        gone.append(seq)
        excess -= size
    return gone


def last_progress(records: Sequence[Record]) -> Progress | None:
    """The progress that the last of its records tells, if any does. Raises: Invalid, for one that tells nothing."""
    for record in reversed(records):
        if record.stream == "progress":
            try:
                return Progress(*_progress.decode(record.data))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Invalid("a progress record is a JSON text: [done, total or null, note]") from error
    return None
