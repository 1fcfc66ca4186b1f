"""Parameters against the JSON schema of a script's manifest, each wrong field named.

jsonschema finds what is wrong; the words are ours, so that they can be read in any language.
"""

import re
from collections.abc import Iterator
from typing import Any

from pumasi.errors import Invalid
from pumasi.intake.fields import Problem, pointer, shown
from pumasi.scripts.schema import validator

#: wrong fields named at once
_MAX_PROBLEMS = 20

#: what a keyword of a schema asks for: `wanted` is its argument, `value` what was found
_WORDS = {
    "type": "must be of type {wanted}, not {value}",
    "enum": "must be one of {wanted}, not {value}",
    "const": "must be {wanted}, not {value}",
    "minimum": "must be at least {wanted}, not {value}",
    "maximum": "must be at most {wanted}, not {value}",
    "exclusiveMinimum": "must be above {wanted}, not {value}",
    "exclusiveMaximum": "must be below {wanted}, not {value}",
    "multipleOf": "must be a multiple of {wanted}, not {value}",
    "minLength": "must have at least {wanted} characters; it is {value}",
    "maxLength": "must have at most {wanted} characters; it is {value}",
    "pattern": "must match {wanted}; it is {value}",
    "minItems": "must hold at least {wanted} items; it is {value}",
    "maxItems": "must hold at most {wanted} items; it is {value}",
    "uniqueItems": "must not hold the same twice; it is {value}",
    "anyOf": "has none of the forms it may have; it is {value}",
    "oneOf": "must have exactly one of the forms it may have; it is {value}",
}


def wrong_parameters(schema: dict[str, Any], values: dict[str, Any]) -> list[Problem]:
    """What is wrong with the parameters, below `/parameters`; [] when nothing is."""
    from referencing.exceptions import Unresolvable

    try:
        found = sorted(validator(schema).iter_errors(values), key=lambda error: str(error.json_path))
        return [problem for error in found for problem in _problems(error)][:_MAX_PROBLEMS]
    except RecursionError:
        raise Invalid("the parameters are nested too deeply to be held against the script's schema") from None
    except Unresolvable as error:
        raise Invalid("the script's schema cannot be used: {reason}", reason=str(error)) from None


def _problems(error: Any) -> Iterator[Problem]:
    at = pointer(["parameters", *error.absolute_path])
    match error.validator:
        case "required":
            missing = (name for name in error.validator_value if name not in error.instance)
            name = next((name for name in missing if repr(name) in error.message), None)
            yield Problem(f"{at}{pointer([name])}" if name else at, "is required", {})
        case "additionalProperties" if error.validator_value is False:
            known = sorted(error.schema.get("properties", {}))
            for name in _unknown(error.instance, error.schema):
                yield Problem(
                    f"{at}{pointer([name])}", "is unknown; there are: {known}", {"known": ", ".join(known) or "-"}
                )
        case keyword:
            text = _WORDS.get(str(keyword), "{why}")
            details = {"wanted": _listed(error.validator_value), "value": shown(error.instance)}
            yield Problem(at, text, details | {"why": error.message[:300]})


def _unknown(values: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """What `additionalProperties: false` does not let in."""
    patterns = schema.get("patternProperties", {})
    known = schema.get("properties", {})
    return [name for name in values if name not in known and not any(re.search(rule, name) for rule in patterns)]


def _listed(wanted: Any) -> str:
    return ", ".join(str(item) for item in wanted) if isinstance(wanted, list) else str(wanted)
