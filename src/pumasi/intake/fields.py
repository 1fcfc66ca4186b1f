"""What is wrong with a request, field by field: pydantic's findings in our words, by JSON pointer.

Our own validators raise `problem(text, **details)`; what pydantic finds by itself is put into words by one table.
Either way a finding is a message id and its details, so that it can be read in any language.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct
from pydantic_core import ErrorDetails, PydanticCustomError

from pumasi.errors import BadFields, Invalid

_OURS = "pumasi"
_MAX_SHOWN = 80

#: pydantic's kind of finding: the text, and what of its context the text needs
_WORDS: dict[str, str] = {
    "missing": "is required",
    "extra_forbidden": "is unknown here; check its spelling",
    "int_type": "must be a whole number, not {value}",
    "int_parsing": "must be a whole number, not {value}",
    "int_from_float": "must be a whole number, not {value}",
    "float_type": "must be a number, not {value}",
    "float_parsing": "must be a number, not {value}",
    "finite_number": "must be a finite number, not {value}",
    "bool_type": "must be true or false, not {value}",
    "bool_parsing": "must be true or false, not {value}",
    "string_type": "must be text, not {value}",
    "dict_type": "must be a JSON object, not {value}",
    "model_type": "must be a JSON object, not {value}",
    "model_attributes_type": "must be a JSON object, not {value}",
    "list_type": "must be a list, not {value}",
    "literal_error": "must be one of {expected}, not {value}",
    "enum": "must be one of {expected}, not {value}",
    "greater_than": "must be above {gt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than": "must be below {lt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "too_long": "must hold at most {max_length} items",
    "too_short": "must hold at least {min_length} items",
    "string_pattern_mismatch": "must match {pattern}, and {value} does not",
}


class Problem(Struct, frozen=True):
    """What is wrong at a place: a JSON pointer, and the text and details of a message."""

    at: str
    text: str
    details: dict[str, Any]


def problem(text: str, **details: Any) -> PydanticCustomError:
    """An error for a validator to raise: a message id and its details."""
    return PydanticCustomError(_OURS, "{text}", {"text": text, "details": details})


def checked(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser of ours as a validator: its Invalid becomes the finding about this field."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except Invalid as error:
            raise problem(error.text, **error.details) from error

    return validate


def bad_fields(findings: Iterable[ErrorDetails], *, above: str = "", skip: int = 0) -> BadFields:
    """The error that names every field pydantic found fault with; `skip` leading parts of a place are not ours."""
    return refusal(_problem(finding, above, skip) for finding in findings)


def refusal(problems: Iterable[Problem]) -> BadFields:
    """The error that names these fields."""
    return BadFields(fields=[{"field": bad.at or "/", "text": bad.text, "details": bad.details} for bad in problems])


def pointer(parts: Sequence[str | int]) -> str:
    """The JSON pointer of a place."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def _problem(finding: ErrorDetails, above: str, skip: int) -> Problem:
    at = above + pointer(finding["loc"][skip:])
    context = finding.get("ctx", {})
    if finding["type"] == _OURS:
        return Problem(at, context["text"], context["details"])
    details = {name: value for name, value in context.items() if isinstance(value, str | int | float)}
    text = _WORDS.get(finding["type"], "{why}")
    return Problem(at, text, details | {"value": shown(finding.get("input")), "why": finding["msg"]})
