"""The parameters of a script, as its command line has them: `--parameters '{"page": 3}'`."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_FLAG = "--parameters"


def parameters(argv: "Sequence[str] | None" = None) -> "dict[str, Any]":
    """The parameters in `argv` (default: this process's own), {} when there are none.

    Raises:
        ValueError: what follows `--parameters` is no JSON object.
    """
    import json

    text = _text(sys.argv[1:] if argv is None else argv)
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_FLAG} needs a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{_FLAG} needs a JSON object, not {type(values).__name__}")
    return values


def _text(argv: "Sequence[str]") -> str | None:
    for at, word in enumerate(argv):
        if word == "--":
            return None
        if word.startswith(f"{_FLAG}="):
            return word.removeprefix(f"{_FLAG}=")
        if word == _FLAG:
            return argv[at + 1] if at + 1 < len(argv) else ""
    return None
