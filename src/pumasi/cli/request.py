"""From the words on a command line to the parameters and limits of a job."""

import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pumasi.core import strict
from pumasi.core.job import MAX_PARAMETERS, State
from pumasi.errors import Invalid
from pumasi.units import parse_duration, parse_size

if TYPE_CHECKING:
    from pumasi.intake import JobRequest


def parameters(pairs: Sequence[str] | None, text: str | None) -> dict[str, Any] | None:
    """What `--params` and `--param` say together, the latter on top; None when neither is given.

    Raises:
        Invalid: no JSON object, no KEY=VALUE, a file that cannot be read, or too much.
    """
    if text is None and not pairs:
        return None
    values = {} if text is None else _object(text)
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Invalid("--param takes KEY=VALUE, not {pair!r}", pair=pair)
        values[key] = _value(value)
    return values


def limits(**texts: str | None) -> dict[str, int | float]:
    """Limits by name (`memory`, `cpu`, `processes`, `open_files`, `disk`), read from their texts; None is left out.

    Raises:
        Invalid: naming the option.
    """
    readers = {"memory": parse_size, "disk": parse_size, "cpu": parse_duration}
    return {
        name: _read(f"--{name.replace('_', '-')}", text, readers.get(name, whole))
        for name, text in texts.items()
        if text is not None
    }


def duration(option: str, text: str | None) -> float | None:
    """Seconds of an option's text; None when it is not given. Raises: Invalid, naming the option."""
    return None if text is None else float(_read(option, text, parse_duration))


def number(option: str, text: str | None) -> int | None:
    """A whole number of an option's text; None when it is not given. Raises: Invalid, naming the option."""
    return None if text is None else int(_read(option, text, whole))


def moment(option: str, text: str | None) -> float | str | None:
    """A time of an option's text: Unix seconds, or ISO 8601; one without an offset is this machine's.

    Raises:
        Invalid: naming the option.
    """
    if text is None:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdecimal() else datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise Invalid(
            "{option}: {value!r} is no time; write 2030-01-31T08:00:00Z, or Unix seconds", option=option, value=text
        ) from None


def since(text: str | None) -> float | None:
    """The Unix time that `2h` (ago) or a time means. Raises: Invalid."""
    if text is None:
        return None
    try:
        return time.time() - parse_duration(text) if not text.replace(".", "", 1).isdecimal() else float(text)
    except Invalid:
        found = moment("--since", text)
        return None if found is None else float(found)


def states(names: Sequence[str] | None) -> tuple[str, ...]:
    """States by name; several may stand in one, with commas between. Raises: Invalid."""
    chosen = [name.strip().lower() for text in names or () for name in text.split(",")]
    for name in chosen:
        if name not in list(State):
            raise Invalid("there is no state {name!r}; there are {known}", name=name, known=", ".join(State))
    return tuple(chosen)


def whole(text: str) -> int:
    """A whole number. Raises: Invalid."""
    try:
        return int(text)
    except ValueError:
        raise Invalid("{value} is no whole number", value=repr(text)) from None


def labels(pairs: Sequence[str] | None) -> dict[str, str]:
    """Labels given as KEY=VALUE. Raises: Invalid."""
    found = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise Invalid("--label takes KEY=VALUE, not {pair!r}", pair=pair)
        found[key] = value
    return found


def requested(options: dict[str, Any]) -> "JobRequest":
    """The request these options make; those that are None are not given. Raises: BadFields, naming each bad one."""
    from pydantic import ValidationError

    from pumasi.intake import JobRequest
    from pumasi.intake.fields import bad_fields

    try:
        return JobRequest(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        raise bad_fields(error.errors()) from error


def _read(option: str, text: str, reader: Any) -> Any:
    try:
        return reader(text)
    except Invalid as error:
        raise Invalid("{option}: {why}", option=option, why=str(error)) from error


def _object(text: str) -> dict[str, Any]:
    source = "--params"
    if text == "-":
        source, text = "stdin", _bounded(sys.stdin.buffer.read(MAX_PARAMETERS + 1))
    elif text.startswith("@"):
        source, text = text[1:], _file(text[1:])
    try:
        values = strict.loads(text)
    except ValueError as error:
        raise Invalid("parameters ({source}) are no JSON: {why}", source=source, why=str(error)) from error
    if not isinstance(values, dict):
        raise Invalid('parameters ({source}) are a JSON object, such as {{"page": 3}}', source=source)
    return values


def _file(path: str) -> str:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return _bounded(file.read(MAX_PARAMETERS + 1))
    except OSError as error:
        raise Invalid("{path} cannot be read: {reason}", path=path, reason=error.strerror or str(error)) from error


def _bounded(data: bytes) -> str:
    if len(data) > MAX_PARAMETERS:
        raise Invalid("parameters are larger than 1 MB; pass the address of the data instead")
    return data.decode("utf-8", "surrogateescape")


def _value(text: str) -> Any:
    try:
        return strict.loads(text)
    except ValueError:
        return text
