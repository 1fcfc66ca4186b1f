"""Where the values of settings come from: flags, environment, `.env`, a file; each a *layer*, the first one wins.

A layer maps a name, as it is written there, to a raw value and its origin. Empty values are no values. This module
loads nothing heavy: the command line asks it for the language before it makes its help texts.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from pumasi.errors import BadSetting
from pumasi.locale import gettext as _

PREFIX = "PUMASI_"
DOTENV = ".env"
FILE = "pumasi.settings.toml"


class Origin(NamedTuple):
    """Where a value was read: a kind of layer, and the name or line there."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "flag":
                return _("flag")
            case "environment":
                return _("environment {name}").format(name=self.where)
            case "dotenv":
                return _(".env line {line}").format(line=self.where)
            case "file":
                return _("file {path}").format(path=self.where)
        return _("default")


DEFAULT = Origin("default")


class Raw(NamedTuple):
    """A value as it was written, and where."""

    value: Any
    origin: Origin


Layer = Mapping[str, Raw]


def flags(values: Mapping[str, Any]) -> Layer:
    """Values given in the program or on its command line, by setting name; None is not given."""
    return {name: Raw(value, Origin("flag")) for name, value in values.items() if value is not None}


def environment() -> Layer:
    """The environment of this process."""
    return {name: Raw(value, Origin("environment", name)) for name, value in os.environ.items() if value.strip()}


def dotenv(path: str = DOTENV) -> tuple[Layer, list[int]]:
    """The `.env` file of the working directory, and the numbers of those of its lines that cannot be read.

    Quotes and inline comments are understood; `${NAME}` is not expanded.

    Raises:
        BadSetting: it is there, and cannot be opened or is no text.
    """
    if not os.path.isfile(path):
        return {}, []
    from dotenv.parser import parse_stream

    layer: dict[str, Raw] = {}
    unreadable: list[int] = []
    try:
        with open(path, encoding="utf-8-sig") as file:
            for binding in parse_stream(file):
                text = binding.original.string
                line = binding.original.line + text.count("\n", 0, len(text) - len(text.lstrip()))
                if binding.error:
                    unreadable.append(line)
                elif binding.key and (binding.value or "").strip():
                    layer[binding.key] = Raw(binding.value, Origin("dotenv", str(line)))
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting("{path} cannot be read: {reason}", path=path, reason=str(error)) from error
    return layer, unreadable


def file(path: str | None, known: Iterable[str], *, strict: bool = True) -> Layer:
    """The settings file: the one named, else `pumasi.settings.toml` of the working directory if there is one.

    Raises:
        BadSetting: the named file is missing, it is no TOML, or (if `strict`) it has a key that is not known.
    """
    if path is None and not os.path.isfile(FILE):
        return {}
    path = path or FILE
    try:
        with open(path, "rb") as stream:
            values = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise BadSetting("{path} cannot be read: {reason}", path=path, reason=str(error)) from error
    for name in values:
        if strict and name not in known:
            raise unknown(f"{path}: {name}", name, known)
    return {name: Raw(value, Origin("file", path)) for name, value in values.items() if value != ""}


def peek(name: str) -> str | None:
    """What environment, `.env` or the file say about one setting, without checking it; None when they say nothing."""
    key, config = PREFIX + name.upper(), "PUMASI_CONFIG"
    if os.environ.get(key, "").strip():
        return os.environ[key]
    try:
        named, _unreadable = dotenv()
        path = os.environ.get(config, "").strip() or (named[config].value if config in named else None)
        raw = named.get(key) or file(path, {name}, strict=False).get(name)
    except BadSetting:  # told when the settings are loaded
        return None
    return str(raw.value) if raw else None


def unknown(shown: str, name: str, known: Iterable[str], prefix: str = "") -> BadSetting:
    """The error for a name that is no setting, with the one that was probably meant."""
    for guess in get_close_matches(name, list(known), n=1):
        return BadSetting("{name} is no setting; did you mean {guess}?", name=shown, guess=prefix + guess)
    return BadSetting("{name} is no setting; `pumasi config` lists them all", name=shown)
