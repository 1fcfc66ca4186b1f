"""The JSON schema that a script's manifest may have for its parameters.

The library is loaded on first use: most scripts have no schema, and it takes a while. A schema reaches nothing outside
itself: a `$ref` to somewhere else is refused, never fetched.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from pumasi.errors import Invalid


def check_schema(schema: dict[str, Any]) -> None:
    """Raises: Invalid when `schema` is no JSON schema, or refers to something outside itself."""
    from jsonschema.exceptions import SchemaError

    try:
        validator(schema)
        for reference in _references(schema):
            _check_reference(reference)
    except SchemaError as error:
        raise Invalid("{field}: {problem}", field=_pointer(error.absolute_path), problem=error.message[:300]) from None
    except RecursionError:
        raise Invalid("the schema is nested too deeply") from None


def validator(schema: dict[str, Any]) -> Any:
    """A jsonschema validator of a checked schema, made once for each. Raises: Invalid."""
    return _validator(_text(schema))


@lru_cache(maxsize=128)
def _validator(text: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    schema = json.loads(text)
    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    # An empty registry of its own: the default one would fetch what a reference names.
    return kind(schema, registry=Registry())


def _text(schema: dict[str, Any]) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Invalid("the schema is no JSON: {problem}", problem=str(error)) from None


def _check_reference(reference: str) -> None:
    if not reference.startswith("#"):
        raise Invalid(
            "{reference} refers to something outside the schema; copy it in, below $defs", reference=repr(reference)
        )


def _pointer(path: Iterable[Any]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _references(node: Any) -> Iterable[str]:
    stack = [node]
    while stack:
        at = stack.pop()
        if isinstance(at, dict):
            stack.extend(at.values())
            yield from (at[key] for key in ("$ref", "$dynamicRef") if isinstance(at.get(key), str))
        elif isinstance(at, list):
            stack.extend(at)
