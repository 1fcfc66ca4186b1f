"""The catalogues of both languages: what they must hold, brought up to date, and compiled.

    python tools/catalogues.py update     add what is missing as empty entries, drop what nobody uses
    python tools/catalogues.py compile    .po → .mo
    python tools/catalogues.py check      say what is wrong, as the tests do

Message ids are found by reading the source: first arguments of `_()` and of errors, texts beside the class of their
error in a tuple, first docstring lines of errors, events of `log.…()`. Korean has every text; English only the events,
whose ids are no sentences.
"""

import ast
import io
import string
import struct
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pumasi"
LOCALE = SOURCE / "locale"
LANGUAGES = ("en", "ko")

#: functions that take texts, and which of their positional arguments are texts
TAKERS = {
    "_": (0,),
    "gettext": (0,),
    "render": (0,),
    "problem": (0,),
    "Problem": (1,),
    "_refused": (0,),
    "_setting": (1,),
    "Protection": (0, 2),
}
#: names of tables whose values are texts
TABLES = {"_WORDS", "TEXTS", "_TEXTS", "_RULES"}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
#: parameters that any event may have: bound once, or given by the logger
BOUND = {"worker_id", "task_id", "module"}


class Found(NamedTuple):
    """A text in the source: where, and the names that may stand in its placeholders (None: not known)."""

    text: str
    place: str
    event: bool = False
    names: frozenset[str] | None = None


def found_texts(source: Path = SOURCE) -> list[Found]:
    """Every text and event there is."""
    errors = _error_names(source)
    return [text for path in sorted(source.rglob("*.py")) for text in _Reader(path, errors).read()]


def catalogue(language: str) -> Catalog:
    """A language's catalogue as it is kept; empty when there is none yet."""
    path = po_file(language)
    if not path.exists():
        return _fresh(language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def po_file(language: str) -> Path:
    """Where the texts of a language are written."""
    return LOCALE / language / "LC_MESSAGES" / "pumasi.po"


def compiled(language: str) -> bytes:
    """The `.mo` that belongs to the catalogue (GNU gettext manual, "The Format of GNU MO Files").

    Babel's own would hold today's date, and could not be compared.
    """
    texts = {str(message.id): str(message.string) for message in catalogue(language) if message.id and message.string}
    texts[""] = f"Content-Type: text/plain; charset=utf-8\nLanguage: {language}\n"
    pairs = [(text.encode(), texts[text].encode()) for text in sorted(texts, key=str.encode)]
    tables, data, start = [], b"", 28 + 16 * len(pairs)
    for column in (0, 1):
        for pair in pairs:
            tables += [len(pair[column]), start + len(data)]
            data += pair[column] + b"\0"
    count = len(pairs)
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 28 + 16 * count)
    return head + struct.pack(f"<{len(tables)}I", *tables) + data


def placeholders(text: str) -> set[str]:
    """The names in a text's placeholders. Raises: ValueError (it is no format)."""
    return {name.split(".")[0].split("[")[0] for _, name, *_ in string.Formatter().parse(text) if name is not None}


def wanted(language: str, texts: list[Found]) -> dict[str, Found]:
    """What a language's catalogue must hold."""
    return {found.text: found for found in texts if found.event or language == "ko"}


def problems(texts: list[Found] | None = None) -> Iterator[str]:
    """Everything that is wrong with the catalogues."""
    texts = found_texts() if texts is None else texts
    for language in LANGUAGES:
        kept = {str(message.id): str(message.string) for message in catalogue(language) if message.id}
        needed = wanted(language, texts)
        for text, found in needed.items():
            if not kept.get(text):
                yield f"{language}: no text for {text!r} ({found.place})"
            else:
                yield from _misfits(language, found, kept[text])
        for text in kept.keys() - needed.keys():
            yield f"{language}: nobody uses {text!r}"
        mo = po_file(language).with_suffix(".mo")
        if not mo.exists() or mo.read_bytes() != compiled(language):
            yield f"{language}: {mo.name} is stale; run python tools/catalogues.py compile"


def update() -> None:
    """Bring the `.po` files in line with the source."""
    texts = found_texts()
    for language in LANGUAGES:
        kept = {str(message.id): str(message.string) for message in catalogue(language) if message.id}
        made = _fresh(language)
        for text in sorted(wanted(language, texts)):
            made.add(text, kept.get(text, ""))
        _write(language, made)


def fill(language: str, translations: dict[str, str]) -> None:
    """Put translations into entries that exist."""
    made = catalogue(language)
    for text, translation in translations.items():
        message = made.get(text)
        if message is not None:
            message.string = translation
    _write(language, made)


def compile_all() -> None:
    """Write the `.mo` files."""
    for language in LANGUAGES:
        po_file(language).with_suffix(".mo").write_bytes(compiled(language))


def _write(language: str, made: Catalog) -> None:
    path = po_file(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    write_po(buffer, made, width=0, omit_header=True, sort_output=True, no_location=True)
    header = f'# Texts of Pumasi: {language}.\nmsgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    path.write_bytes(header.encode() + buffer.getvalue())


def _fresh(language: str) -> Catalog:
    return Catalog(locale=language, charset="utf-8", fuzzy=False)


def _misfits(language: str, found: Found, translation: str) -> Iterator[str]:
    try:
        used = placeholders(translation)
        allowed = found.names if found.event else placeholders(found.text)
    except ValueError as error:
        yield f"{language}: {found.text!r}: {error}"
        return
    if found.event:
        if allowed is not None and not used <= allowed | BOUND:
            yield f"{language}: {found.text!r} has no {sorted(used - allowed)} ({found.place})"
    elif used != allowed:
        yield f"{language}: placeholders of {found.text!r} are {sorted(used)}, not {sorted(allowed or ())}"


def _error_names(source: Path) -> set[str]:
    """Names of all classes that derive from `Error`."""
    tree = ast.parse((source / "errors.py").read_text())
    names = {"Error"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id in names for base in node.bases
        ):
            names.add(node.name)
    return names


class _Reader:
    """Reads one file."""

    def __init__(self, path: Path, errors: set[str]) -> None:
        self._path = path
        self._errors = errors
        self._tree = ast.parse(path.read_text())
        self._texts = {id(node): scope for scope in _scopes(self._tree) for node in _own(scope)}

    def read(self) -> Iterator[Found]:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.ClassDef) and node.name in self._errors:
                yield from self._docstring(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                yield from self._table(node)
            elif isinstance(node, ast.Tuple):
                yield from self._meaning(node)

    def _call(self, node: ast.Call) -> Iterator[Found]:
        function = node.func
        if _is_log(function) or (
            isinstance(function, ast.Attribute) and function.attr in LEVELS and _is_log(function.value)
        ):
            names = (
                None if any(word.arg is None for word in node.keywords) else {str(word.arg) for word in node.keywords}
            )
            for text in self._strings(node.args[0]) if node.args else ():
                yield Found(text, self._place(node), True, None if names is None else frozenset(names))
            return
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        places = (0,) if name in self._errors else TAKERS.get(name, ())
        for place in places:
            if place < len(node.args):
                for text in self._strings(node.args[place]):
                    yield Found(text, self._place(node))

    def _docstring(self, node: ast.ClassDef) -> Iterator[Found]:
        text = (ast.get_docstring(node) or "").splitlines()[:1]
        if text:
            yield Found(text[0], self._place(node))

    def _table(self, node: ast.Assign | ast.AnnAssign) -> Iterator[Found]:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id in TABLES for target in targets):
            for value in _cells(node.value):
                for text in self._strings(value):
                    yield Found(text, self._place(value))

    def _meaning(self, node: ast.Tuple) -> Iterator[Found]:
        """A text beside the class of the error that it is for."""
        for kind, text in pairwise(node.elts):
            if isinstance(kind, ast.Name) and kind.id in self._errors:
                for found in self._strings(text):
                    yield Found(found, self._place(text))

    def _strings(self, node: ast.expr) -> Iterator[str]:
        """The texts an expression can be: a literal, either side of a choice, what a local name was set to."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node.value:
                yield node.value
        elif isinstance(node, ast.IfExp):
            yield from self._strings(node.body)
            yield from self._strings(node.orelse)
        elif isinstance(node, ast.Name):
            scope = self._texts.get(id(node), self._tree)
            for other in ast.walk(scope):
                if isinstance(other, ast.Assign) and any(
                    isinstance(target, ast.Name) and target.id == node.id for target in other.targets
                ):
                    yield from self._strings(other.value) if not isinstance(other.value, ast.Name) else ()

    def _place(self, node: ast.AST) -> str:
        return f"{self._path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}"


def _cells(node: ast.expr | None) -> Iterator[ast.expr]:
    """What stands in a table, its keys aside."""
    if isinstance(node, ast.Dict):
        yield from node.values
    elif isinstance(node, ast.Tuple | ast.List):
        for item in node.elts:
            yield from _cells(item)
    elif node is not None:
        yield node


def _is_log(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "log") or (
        isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "get_logger"
    )


def _scopes(tree: ast.Module) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    return ast.walk(scope)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["update"]:
            update()
        case ["compile"]:
            compile_all()
        case ["check"]:
            wrong = list(problems())
            sys.stdout.write("\n".join([*wrong, f"{len(wrong)} problems"]) + "\n")
            sys.exit(1 if wrong else 0)
        case _:
            sys.exit(__doc__)
