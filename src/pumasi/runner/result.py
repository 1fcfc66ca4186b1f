"""What counts as a script's result: the rules of strict JSON, and where in its output to look (docs: "What a script
returns").

Strict JSON is RFC 8259 text in UTF-8 without NaN or Infinity (also none by overflow, like 1e999), without a key twice
in one object, without lone surrogates, nested at most `MAX_DEPTH` deep, integers of at most `MAX_DIGITS` digits. A
result is kept as the text it came as.
"""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from msgspec import Struct

from pumasi.runner.output import Capture

MAX_DEPTH = 200
MAX_DIGITS = 4300


class Text(Struct, frozen=True):
    """A result: JSON text."""

    json: str


class Bad(Struct, frozen=True):
    """Something that had to be strict JSON and is not; `why` says what to change."""

    why: str


class TooLarge(Struct, frozen=True):
    """A result of more bytes than allowed."""

    size: int


Result = Text | Bad | TooLarge | None


class NotStrict(ValueError):
    """JSON that Python reads, and others do not."""


def strict(text: str, *, lenient: bool = False) -> str:
    """The JSON text itself when it is strict; with `lenient`, NaN and Infinity become null.

    Raises: NotStrict (Python accepts it, strict JSON does not), ValueError (it is no JSON at all).
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_null if lenient else _refused, parse_float=_finite(lenient)
        )
    except RecursionError:
        raise NotStrict(f"nested deeper than {MAX_DEPTH}") from None
    except NotStrict:
        raise
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # more digits than int() takes
        raise NotStrict(f"an integer of more than {MAX_DIGITS} digits") from error
    _check(value)
    return json.dumps(value, ensure_ascii=False) if lenient else text


def from_output(stdout: Capture, *, asked: bool, lenient: bool) -> Result:
    """The result in a script's standard output: the whole of it, else its last non-empty line when that is an object or
    an array. Text that Python's own reader takes for JSON and that is not strict is Bad; other text is none, unless
    JSON was `asked` for."""
    whole = stdout.whole
    if whole is not None:
        found = _read(whole, lenient)
        if found is not None:
            return found
    last = _last_line(stdout)
    if last[:1] in (b"{", b"["):
        found = _read(last, lenient)
        if found is not None:
            return found
    if whole is None and (asked or stdout.first(64).lstrip()[:1] in (b"{", b"[")):
        return TooLarge(stdout.total)
    if asked:
        return Bad('standard output is not JSON, and result = "json" was asked for')
    return None


def _last_line(stdout: Capture) -> bytes:
    """The last non-empty line, stripped; none when its beginning was not kept."""
    before, newline, last = stdout.last(stdout.total).rstrip().rpartition(b"\n")
    return last.strip() if newline or before or stdout.whole is not None else b""


def _read(data: bytes, lenient: bool) -> Result:
    """A result, Bad, or None for what is no JSON."""
    try:
        return Text(strict(data.decode().strip(), lenient=lenient))
    except NotStrict as error:
        return Bad(f"standard output is not strict JSON: {error}")
    except ValueError:
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotStrict(f"the key {twice!r} stands twice in one object")
    return found


def _refused(name: str) -> NoReturn:
    raise NotStrict(f'{name} is no JSON value (result = "json-lenient" turns it into null)')


def _null(_: str) -> None:
    return None


def _finite(lenient: bool) -> Any:
    def parse(digits: str) -> float | None:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            return None if lenient else _refused(digits)
        return value

    return parse


def _check(value: Any) -> None:
    """Depth and surrogates, without recursion."""
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH + 1:
            raise NotStrict(f"nested deeper than {MAX_DEPTH}")
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _encodable(item)
            elif isinstance(item, dict | list):
                below += _inside(item)
        level = below


def _inside(item: dict[str, Any] | list[Any]) -> Iterator[Any]:
    if isinstance(item, dict):
        for key in item:
            _encodable(key)
        yield from item.values()
    else:
        yield from item


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotStrict("a lone surrogate is no character") from None
