"""Texts that depend on the job, as the keys of limits do: `shop-{params.url|domain}`.

In braces: `script`, `version`, `queue`, `params.NAME` (deeper with more dots), `labels.NAME`; after a bar, what to
make of it: `domain` (the host of a URL), `lower`. What is not there makes the request invalid, so that no two jobs
come to share a key by accident.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pumasi.core.job import KeyLimit
from pumasi.intake.fields import Problem, refusal, shown
from pumasi.units import parse_rate

MAX_KEY = 256
_PART = re.compile(r"\{([^{}|]*)(?:\|([^{}|]*))?\}")


def key_limit(key: str, concurrency: int | None, rate: str | None, values: dict[str, Any]) -> KeyLimit:
    """The limit of a job with these values; one that says neither concurrency nor rate means one at a time.

    Raises: BadFields (about `/key`).
    """
    count, period = parse_rate(rate) if rate else (None, 60.0)
    if concurrency is None and count is None:
        concurrency = 1
    return KeyLimit(key=expand("/key", key, values), concurrency=concurrency, count=count, period=period)


def expand(field: str, text: str, values: dict[str, Any]) -> str:
    """The text with what stands in braces filled in. Raises: BadFields (about `field`)."""
    try:
        filled = _PART.sub(lambda part: _filtered(_value(part[1], values), part[2]), text)
        if len(filled) > MAX_KEY:
            raise _Unfit("is longer than {limit} characters once filled in", limit=MAX_KEY)
    except _Unfit as unfit:
        raise refusal([Problem(field, unfit.text, unfit.details)]) from None
    return filled


class _Unfit(Exception):
    def __init__(self, text: str, **details: Any) -> None:
        super().__init__(text)
        self.text, self.details = text, details


def _value(name: str, values: dict[str, Any]) -> str:
    found: Any = values
    for part in name.strip().split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if not isinstance(found, str | int | float) or found == "":
        raise _Unfit("names {name}, and the job has no such text or number", name=f"{{{name}}}")
    return str(found)


def _filtered(value: str, name: str | None) -> str:
    if name is None:
        return value
    if name not in _FILTERS:
        raise _Unfit("has no filter {name}; there are {known}", name=shown(name), known=", ".join(_FILTERS))
    return _FILTERS[name](value)


def _domain(value: str) -> str:
    try:
        host = urlsplit(value if "//" in value else f"//{value}").hostname
    except ValueError:
        host = None
    if not host:
        raise _Unfit("asks for the domain of {value}, which is no URL", value=shown(value))
    return host


_FILTERS: dict[str, Callable[[str], str]] = {"domain": _domain, "lower": str.lower}
