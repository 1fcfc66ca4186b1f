"""The block of metadata that a single-file script carries in comments (PEP 723).

# /// script
# dependencies = ["httpx2"]
# [tool.pumasi]
# memory_limit = "512MB"
# ///
"""

import re
import tomllib
from typing import Any

from pumasi.errors import Invalid

# The reference implementation's expression, as the PEP gives it.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_OPENING = re.compile(r"(?m)^# /// [a-zA-Z0-9-]+$")
# Each opening line costs the expression a pass over the comment below it; a file of nothing else would cost hours.
_MAX_OPENINGS = 100
_MAX_TOML = 256 * 1024  # characters


def read_block(source: str, name: str) -> dict[str, Any]:
    """What the `script` block of `source` says, {} when there is none; `name` is the file's, for messages.

    Raises:
        Invalid: there are two such blocks, or it is no TOML.
    """
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    if len(_OPENING.findall(text)) > _MAX_OPENINGS:
        raise Invalid(
            "{file} has more than {limit} lines that open a block of metadata", file=name, limit=_MAX_OPENINGS
        )
    blocks = [match for match in _BLOCK.finditer(text) if match["type"] == "script"]
    if len(blocks) > 1:
        raise Invalid("{file} has {count} '# /// script' blocks; keep one", file=name, count=len(blocks))
    if not blocks:
        return {}
    return parse_toml(_uncommented(blocks[0]["content"]), f"{name} (# /// script)")


def parse_toml(text: str, what: str) -> dict[str, Any]:
    """`text` as TOML. Raises: Invalid, naming `what` it is and where it breaks."""
    if len(text) > _MAX_TOML:
        raise Invalid("{what} has {size} characters; {limit} are allowed", what=what, size=len(text), limit=_MAX_TOML)
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and an integer of thousands of digits
        raise Invalid("{what} is no valid TOML: {problem}", what=what, problem=str(error)) from None
    except RecursionError:
        raise Invalid("{what} is nested too deeply", what=what) from None


def _uncommented(content: str) -> str:
    # Only newlines end a comment; `splitlines` would also break at the separators that TOML strings may hold.
    return "\n".join(line[2:] if line.startswith("# ") else line[1:] for line in content.split("\n"))
