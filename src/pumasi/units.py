"""Sizes, durations and rates as people write them: `512MB`, `1m30s`, `10/min`.

1 KB is 1024 bytes, letters are read in any case, a bare number is bytes or seconds. What the `format_` functions write,
the `parse_` functions read.
"""

import re

from pumasi.errors import Invalid

_MAX_TEXT = 64  # characters; anything longer is no quantity, and is not worth the arithmetic
_MAX_SIZE = 2**63 - 1

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_STEPS = ("", "k", "m", "g", "t", "p")
_SIZES = {
    f"{step}{end}": 1024**power for power, step in enumerate(_STEPS) for end in ("", "b", "ib") if step or end != "ib"
}

_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[dhms])\s*", re.ASCII | re.IGNORECASE)
_PARTS = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|min|[dhms])\s*)+", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

_RATE = re.compile(r"(\d+)\s*/\s*(\d*)\s*(ms|seconds?|sec|s|minutes?|min|m|hours?|h|days?|d)", re.ASCII | re.IGNORECASE)


def parse_size(value: str | float) -> int:
    """Bytes in `value`: `512MB`, `1.5 GiB`, `1048576`, 1048576.

    Raises:
        Invalid: it is no size, is negative, or is beyond what a file system could hold.
    """
    wrong = Invalid(
        "{value} is no size; write a number of bytes, or one with KB, MB or GB, such as 512MB", value=_shown(value)
    )
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip()) if len(value) <= _MAX_TEXT else None
        factor = _SIZES.get(match[2].lower()) if match else None
        if match is None or factor is None:
            raise wrong
        # Whole numbers stay whole: a float would round large ones.
        size = int(match[1]) * factor if "." not in match[1] else int(float(match[1]) * factor)
    else:
        size = int(_number(value, wrong))
    if size > _MAX_SIZE:
        raise wrong
    return size


def parse_duration(value: str | float) -> float:
    """Seconds in `value`: `1m30s`, `250ms`, `2h`, `90`, 90.

    Raises:
        Invalid: it is no duration, or is negative or endless.
    """
    wrong = Invalid("{value} is no duration; write seconds, or something like 90s, 1m30s or 2h", value=_shown(value))
    if not isinstance(value, str):
        return _number(value, wrong)
    text = value.strip()
    if len(text) > _MAX_TEXT:
        raise wrong
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _PARTS.fullmatch(text):
        raise wrong
    return sum(float(amount) * _SECONDS[unit.lower()] for amount, unit in _PART.findall(text))


def parse_rate(value: str) -> tuple[int, float]:
    """`(count, period in seconds)` of a rate: `10/min`, `5/s`, `100/2h`.

    Raises:
        Invalid: it is no rate, or one that lets nothing through.
    """
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= _MAX_TEXT else None
    count = int(match[1]) if match else 0
    period = int(match[2] or 1) * _period(match[3]) if match else 0.0
    if count < 1 or period <= 0:
        raise Invalid("{value} is no rate; write how many per time, such as 10/min or 5/s", value=_shown(value))
    return count, period


def format_size(size: float) -> str:
    """A size for people, to three digits: `512 MB`, `1.5 GB`, `87 B`."""
    amount, step = float(size), 0
    while abs(amount) >= 1023.5 and step < len(_STEPS) - 1:
        amount, step = amount / 1024, step + 1
    number = f"{amount:.0f}" if step == 0 or abs(amount) >= 99.95 else f"{amount:.1f}".removesuffix(".0")
    return f"{number} {_STEPS[step].upper()}B"


def format_duration(seconds: float) -> str:
    """A duration for people: `250ms`, `12.3s`, `1m30s`, `2h5m`, `1d3h`; never more than two units."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds == 0:
        return "0s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g}ms" if seconds < 0.0995 else f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    if seconds < 3599.5:
        return _two(round(seconds), 60, "m", "s")
    if seconds < 86370:
        return _two(round(seconds / 60), 60, "h", "m")
    return _two(round(seconds / 3600), 24, "d", "h")


def _two(amount: int, ratio: int, unit: str, lower: str) -> str:
    whole, rest = divmod(amount, ratio)
    return f"{whole}{unit}" + (f"{rest}{lower}" if rest else "")


def _number(value: float, wrong: Invalid) -> float:
    """`value` when it is a finite number from 0 to what a file system could hold; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if not 0 <= value <= _MAX_SIZE:
        raise wrong
    return value


def _period(unit: str) -> float:
    name = unit.lower()
    return _SECONDS["ms" if name == "ms" else name[0]]


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits refuses to be written
        return "that number"
    return text if len(text) <= _MAX_TEXT + 2 else f"{text[:_MAX_TEXT]}…"
