"""What is wrong with a model, field by field, in our words and the reader's language.

pydantic says it in English and in Python's terms; this is the table from its terms to ours.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from pumasi.errors import Invalid

T = TypeVar("T")

_TEXTS = {
    "missing": Invalid("is needed"),
    "string_type": Invalid("must be text, not {input}"),
    "int_type": Invalid("must be a whole number, not {input}"),
    "int_parsing": Invalid("must be a whole number, not {input}"),
    "int_from_float": Invalid("must be a whole number, not {input}"),
    "float_type": Invalid("must be a number, not {input}"),
    "float_parsing": Invalid("must be a number, not {input}"),
    "finite_number": Invalid("must be a finite number"),
    "bool_type": Invalid("must be true or false, not {input}"),
    "bool_parsing": Invalid("must be true or false, not {input}"),
    "tuple_type": Invalid("must be a list, not {input}"),
    "list_type": Invalid("must be a list, not {input}"),
    "dict_type": Invalid("must be a table, not {input}"),
    "model_type": Invalid("must be a table, not {input}"),
    "literal_error": Invalid("must be one of {expected}, not {input}"),
    "enum": Invalid("must be one of {expected}, not {input}"),
    "greater_than": Invalid("is {input}; it must be above {gt}"),
    "greater_than_equal": Invalid("is {input}; it must be at least {ge}"),
    "less_than_equal": Invalid("is {input}; it must be at most {le}"),
    "string_pattern_mismatch": Invalid("{input} has characters that are not allowed here"),
    "string_too_long": Invalid("is too long; {max_length} characters are allowed"),
    "too_short": Invalid("must hold at least {min_length} items"),
    "too_long": Invalid("must hold at most {max_length} items"),
}


def problem(check: Callable[[Any], T], value: Any) -> T:
    """Run a check of ours inside a validator: what it refuses joins the other problems of the model."""
    try:
        return check(value)
    except Invalid as error:
        raise refusal(error) from None


def refusal(error: Invalid) -> PydanticCustomError:
    """A refusal of ours in the form a validator may raise."""
    return PydanticCustomError("pumasi", "{text}", {"text": error})


def problems(error: ValidationError, known: tuple[str, ...] = ()) -> dict[str, str]:
    """Each wrong field (`retry/on/0`) and what is wrong with it; `known` are names to suggest for an unknown one."""
    found: dict[str, str] = {}
    for details in error.errors(include_url=False):
        field = "/".join(str(part) for part in details["loc"])
        found.setdefault(field, _words(details, known))
    return found


def _words(details: ErrorDetails, known: tuple[str, ...]) -> str:
    context: dict[str, Any] = details.get("ctx", {})
    shown = {**context, "input": _shown(details["input"])}
    if isinstance(context.get("text"), Invalid):
        return str(context["text"])
    if details["type"] == "extra_forbidden":
        near = get_close_matches(str(details["loc"][-1]), known, n=1)
        return str(
            Invalid("there is no such field; did you mean {near}?", near=near[0])
            if near
            else Invalid("there is no such field")
        )
    text = _TEXTS.get(details["type"])
    return str(Invalid(text.text, **shown)) if text else details["msg"]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
