"""Where scripts come from: a name in, one exact content out.

A *reference* (`catalogue`, `catalogue@1.2`) is what people write. A *repository* resolves it, once, at submit, to a
*script*: its files, and the digest of them. From then on only the digest counts; what is edited later changes no job
that was already submitted.
"""

import re
from abc import ABC, abstractmethod

from msgspec import Struct

from pumasi.errors import Invalid
from pumasi.scripts.manifest import Manifest

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


def is_name(text: str) -> bool:
    """Whether a script may be called so: letters, digits, `_ . -`, no path, at most 128 characters."""
    return bool(_NAME.fullmatch(text)) and ".." not in text and not text.endswith(".")


def is_version(text: str) -> bool:
    """Whether a version may be written so: letters, digits, `_ . + -`, at most 64 characters."""
    return bool(_VERSION.fullmatch(text)) and ".." not in text and not text.endswith(".")


class Reference(Struct, frozen=True):
    """A script as it is asked for: a name and, perhaps, a version."""

    name: str
    version: str | None = None

    @staticmethod
    def parse(text: str) -> "Reference":
        """The reference written as `NAME` or `NAME@VERSION`.

        Raises:
            Invalid: it is no name; paths, `..` and the like never are.
        """
        name, at, version = text.partition("@")
        if not is_name(name):
            raise Invalid(
                "{name} is no name of a script; a name has letters, digits, '_', '-' and '.', and is never a path",
                name=_shown(name),
            )
        if at and not is_version(version):
            raise Invalid(
                "{version} is no version of a script; a version has letters, digits, '_', '-', '+' and '.'",
                version=_shown(version),
            )
        return Reference(name, version if at else None)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


class Script(Struct, frozen=True):
    """A script in full, as it was found: everything a worker needs to run it."""

    name: str
    #: the version asked for or found; None when nothing names one
    version: str | None
    #: what `bundle.digest` makes of `files`; the name of this exact content
    digest: str
    manifest: Manifest
    #: path within `files` of the file that is run, or of the manifest that names a command
    entry_point: str
    #: the bundle: paths with `/` to contents, and `bundle.ENTRY` beside them
    files: dict[str, bytes]


class ScriptInfo(Struct, frozen=True):
    """A script as a list shows it. One that cannot be used has no digest, and `error` says why."""

    name: str
    version: str | None
    digest: str | None
    description: str
    error: str | None


class Repository(ABC):
    """A place that scripts come from."""

    @abstractmethod
    async def resolve(self, reference: Reference) -> Script:
        """The script that `reference` means now, checked and ready to run.

        Raises:
            ScriptNotFound: there is none of that name, or not in that version; near ones are named.
            Invalid: there is one, and it cannot be run as it stands: no entry point, a syntax error (with file and
                line), a bad manifest (with each field), too large.
        """

    @abstractmethod
    async def list(self) -> list[ScriptInfo]:
        """All scripts there are, by name and version, those that cannot be used included."""


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 140 else f"{text[:140]!r}…"
