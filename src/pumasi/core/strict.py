"""Strict JSON: RFC 8259 text that every reader takes for the same value.

No NaN or Infinity (also none by overflow, like 1e999), no key twice in one object, no lone surrogate, nested at most
`MAX_DEPTH` deep, no integer of more digits than Python converts. What users send is read with this, so that no store,
no other language and no reader of logs ever sees something that only Python accepts.
"""

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

MAX_DEPTH = 200
MAX_DIGITS = 4300


class NotStrict(ValueError):
    """JSON that some readers take and others do not."""


def loads(text: str | bytes, *, lenient: bool = False) -> Any:
    """The value of a strict JSON text; with `lenient`, NaN and Infinity are read as None.

    Raises:
        NotStrict: some readers take it, others do not.
        ValueError: it is no JSON at all, or not UTF-8.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_nothing if lenient else _refused,
            parse_float=_finite_or_nothing if lenient else _finite,
        )
    except RecursionError:
        raise NotStrict(f"it is nested deeper than {MAX_DEPTH}") from None
    except (NotStrict, json.JSONDecodeError):
        raise
    except ValueError as error:
        raise NotStrict(f"it holds an integer of more than {MAX_DIGITS} digits") from error
    check(value)
    return value


def dumps(value: Any) -> str:
    """The compact JSON text of a value. Raises: NotStrict (what it holds has no strict form)."""
    check(value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise NotStrict(str(error)) from error


def check(value: Any) -> None:
    """See to depth and surrogates, without recursion. Raises: NotStrict."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        level = [inner for item in level for inner in _inside(item)]
    if level:
        raise NotStrict(f"it is nested deeper than {MAX_DEPTH}")


def _inside(item: Any) -> Iterator[Any]:
    if isinstance(item, str):
        _encodable(item)
    elif isinstance(item, dict):
        for key in item:
            if not isinstance(key, str):
                raise NotStrict(f"the key {key!r} is no text")
            _encodable(key)
        yield from item.values()
    elif isinstance(item, list | tuple):
        yield from item


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise NotStrict(f"the key {twice!r} stands twice in one object")
    return found


def _refused(name: str) -> None:
    raise NotStrict(f"{name} is no JSON value")


def _nothing(_: str) -> None:
    return None


def _finite_or_nothing(digits: str) -> float | None:
    value = float(digits)
    return value if isfinite(value) else None


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise NotStrict(f"{digits} is beyond what a number can hold")
    return value


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrict("a lone surrogate is no character") from None
