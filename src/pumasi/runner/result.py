"""What counts as a script's result, and where in its output to look (docs: "What a script returns").

A result is strict JSON (`core.strict`), kept as the text it came as.
"""

import json

from msgspec import Struct

from pumasi.core import strict
from pumasi.core.strict import NotStrict
from pumasi.runner.output import Capture


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


def strict_text(text: str, *, lenient: bool = False) -> str:
    """The JSON text itself when it is strict; with `lenient`, NaN and Infinity become null.

    Raises: NotStrict (Python accepts it, strict JSON does not), ValueError (it is no JSON at all).
    """
    value = strict.loads(text, lenient=lenient)
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
        return Text(strict_text(data.decode().strip(), lenient=lenient))
    except NotStrict as error:
        return Bad(f"standard output is not strict JSON: {error}")
    except ValueError:
        return None
