"""Secrets made unreadable, before anything is logged or shown."""

import re
from typing import Any

HIDDEN = "***"
_SECRET_NAME = re.compile(r"token|passw|secret|authorization|api_?key|credential|cookie", re.IGNORECASE)
#: the password in `scheme://user:password@host`, up to the last @ for one that was not escaped; a port is none
_LOGIN = re.compile(r"(?<=://)([^/?#\s:@]*):(?!\d+(?:/|$))([^\s,;'\"<>]*)@")
#: `?token=…`, `password=…`, `Bearer …`
_NAMED = re.compile(r"(?i)\b((?:[\w-]*(?:token|passw\w*|secret|api_?key))=|bearer\s+)([^\s&;,'\"]+)")


def is_secret(name: str) -> bool:
    """Whether a value of this name must not be shown."""
    return bool(_SECRET_NAME.search(name))


def mask(text: str) -> str:
    """The text without the credentials of URLs, query parameters and bearer tokens in it."""
    if "://" in text:
        text = _LOGIN.sub(rf"\1:{HIDDEN}@", text)
    return _NAMED.sub(rf"\1{HIDDEN}", text)


def masked(name: str, value: Any) -> Any:
    """A named value with its secrets hidden, in whatever depth of dicts and lists they are."""
    if is_secret(name) and value not in (None, "", False, True):
        return HIDDEN
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: masked(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(name, item) for item in value]
    return value
