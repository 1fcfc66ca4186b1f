"""Times as they are written for others: ISO 8601 in UTC with `Z`, to the microsecond."""

from datetime import UTC, datetime

#: what times are written to: a time that was read may lie this much beside the one that was meant
MICROSECOND = 1e-6


def format_time(time: float) -> str:
    """Unix seconds as ISO 8601 in UTC with `Z`."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Unix seconds of an ISO 8601 time that says its offset from UTC. Raises: ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} says no offset from UTC")
    return time.timestamp()
