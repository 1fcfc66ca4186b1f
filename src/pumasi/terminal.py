"""What may be shown on a terminal: text of others with its control characters made visible.

A script's output is not ours to trust. An escape sequence in it could recolour, retitle or overwrite what stands on the
screen, a direction mark could make one text look like another. Such characters are written out as `\\x1b` or `\\u202e`.
"""

import re

#: C0 and C1 controls but newline and tab; line and paragraph separators; direction and tag characters; lone surrogates
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_BREAKS = str.maketrans({"\n": "\\n", "\t": "\\t", "\r": "\\r"})


def printable(text: bytes | str, *, lines: bool = True) -> str:
    """The text with control characters escaped; bytes that are no UTF-8 show as `\\xff`.

    Newlines and tabs stay, and a carriage return begins a new line, so that progress bars stay readable; with
    `lines=False` these are escaped as well, for a value that must stay on one line.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    text = text.replace("\r\n", "\n").replace("\r", "\n") if lines else text.translate(_BREAKS)
    return UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
