"""The SQL that stands beside the modules, in the words of one schema."""

import hashlib
import re
from functools import cache
from importlib.resources import files

#: what a schema is called in the files
_PLACEHOLDER = re.compile(r"\bpumasi\.")


class Queries:
    """Everything that is sent to a server, for the tables of one schema."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        named = _sections("queries.sql", r"([a-z_]+): .*")
        self.migrations = tuple(self.of(text) for text in _sections("schema.sql", r"version: (\d+)").values())
        self.functions = self.of(_read("functions.sql"))
        #: tells one state of functions.sql from another
        self.fingerprint = hashlib.sha256(self.functions.encode()).hexdigest()
        self._known = {name: self.of(text) for name, text in named.items()}

    def __getitem__(self, name: str) -> str:
        """The query of that name."""
        return self._known[name]

    def names(self) -> list[str]:
        """What all of them are called."""
        return list(self._known)

    def of(self, text: str) -> str:
        """A text of SQL, with this schema in the place of `pumasi.`; one of lock names is no name, but a text."""
        return _PLACEHOLDER.sub(lambda _: f'"{self.schema}".', text)


@cache
def _read(file: str) -> str:
    return (files(__package__) / file).read_text(encoding="utf-8")


@cache
def _sections(file: str, heading: str) -> dict[str, str]:
    """The parts of an SQL file, by the name in the comment that heads each."""
    _, *parts = re.split(f"^-- {heading}$", _read(file), flags=re.MULTILINE)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
