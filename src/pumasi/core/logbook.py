"""How much of a job's log is kept: its first and its last bytes. What falls between them is dropped and shows as a gap."""

from collections.abc import Sequence

HEAD_BYTES = 256 * 1024
TAIL_BYTES = 768 * 1024


def dropped(sizes: Sequence[tuple[int, int]], head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> list[int]:
    """The seqs to drop from a log of `(seq, size)` in order: those beyond the first `head` bytes and not in the last `tail`."""
    used = 0
    for index, (_, size) in enumerate(sizes):
        used += size
        if used > head:
            break
    else:
        return []
    rest = list(sizes[index:])
    excess = sum(size for _, size in rest) - tail
    gone: list[int] = []
    for seq, size in rest:
        if excess <= 0:
            break
        gone.append(seq)
        excess -= size
    return gone
