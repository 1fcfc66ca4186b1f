"""The scripts, by name. A script says which parts it needs; they are put before it, in that order."""

import hashlib
from importlib.resources import files

from msgspec import Struct

_NEEDS = "-- needs: "


class Script(Struct, frozen=True):
    """A script, and the digest by which a server that has seen it knows it."""

    name: str
    text: bytes
    digest: bytes


def _text(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str) -> Script:
    own = _text(name)
    needs = next(line for line in own.splitlines() if line.startswith(_NEEDS))
    text = "\n".join([*map(_text, needs.removeprefix(_NEEDS).split()), own]).encode()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


NAMES = (
    "acquire", "adopt", "append", "browse", "complete_blob", "extend", "get_blob", "insert", "lapsed", "list_blobs",
    "load", "news", "purge", "put_chunk", "queues", "read", "set_queue", "sift", "swap", "take",
)  # fmt: skip
SCRIPTS = {name: _script(name) for name in NAMES}
