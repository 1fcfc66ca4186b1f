"""Job ids: UUID version 7 (RFC 9562 §5.7), so that ids sort by the time they were made."""

import os
import threading
import time
import uuid

_lock = threading.Lock()
_last = 0


def new_id(now: float | None = None) -> str:
    """A fresh UUIDv7; ids made by one process always increase (RFC 9562 §6.2, method 3: sub-millisecond bits).

    `now` is Unix time in seconds; left out, the wall clock.
    """
    global _last
    nanoseconds = time.time_ns() if now is None else int(now * 1e9)
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    with _lock:
        _last = max(_last + 1, (milliseconds << 12) | (rest * 4096 // 1_000_000))
        stamp = _last
    random = int.from_bytes(os.urandom(8), "big") >> 2
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | random
    return str(uuid.UUID(int=value))


def new_token() -> str:
    """An unguessable token for a lease."""
    return os.urandom(16).hex()
