"""Whether a raw value fits a setting, said in words of ours: pydantic's speak to programmers, in English only."""

from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from pumasi.errors import BadSetting, Invalid


def fitting(field: FieldInfo, value: Any) -> Any:
    """The value as the setting's type; a text is read as people write it.

    Raises:
        BadSetting: it does not fit; the message says what would.
    """
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        return TypeAdapter(kind).validate_python(value)
    except Invalid as error:
        raise BadSetting("{why}", why=str(error)) from error
    except ValidationError as error:
        raise _explained(error.errors()[0]) from error


def _explained(detail: Any) -> BadSetting:
    """What pydantic found, in words of ours that say what to write."""
    context = detail.get("ctx", {})
    match detail["type"]:
        case "int_parsing" | "int_type" | "int_from_float":
            return BadSetting("it must be a whole number")
        case "bool_parsing" | "bool_type":
            return BadSetting("it must be true or false")
        case "greater_than":
            return BadSetting("it must be above {limit}", limit=context["gt"])
        case "greater_than_equal":
            return BadSetting("it must be at least {limit}", limit=context["ge"])
        case "less_than_equal":
            return BadSetting("it must be at most {limit}", limit=context["le"])
        case "literal_error":
            return BadSetting(
                "it must be one of {values}", values=context["expected"].replace(" or ", ", ").replace("'", "")
            )
        case "string_type" | "path_type":
            return BadSetting("it must be a text")
        case "tuple_type":
            return BadSetting("it must be a list of names")
    return BadSetting("{why}", why=detail["msg"])
