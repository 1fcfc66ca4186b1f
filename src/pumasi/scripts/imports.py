"""What a single-file script needs beside it: the modules in its folder that it imports, and what those import in turn.

Found by reading, without running anything; where Python would look in the folder first, so do we. An import put
together at run time is not seen: the manifest's `files` names what else to take along, or the script gets a folder.
"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase

from pumasi.errors import Invalid
from pumasi.scripts.reader import Reader
from pumasi.scripts.source import decode, parse

_LOADERS = {"import_module", "__import__"}


def siblings(reader: Reader, source: str, own: str) -> dict[str, bytes]:
    """Files of the root folder that `source` imports, by path; `own` is the module name of the script itself."""
    files: dict[str, bytes] = {}
    waiting, seen = [source], {own, *sys.builtin_module_names}
    while waiting:
        for module in imported(waiting.pop()) - seen:
            seen.add(module)
            for path, data in _module(reader, module):
                files[path] = data
                waiting.extend(_text(path, data))
    return files


def matching(reader: Reader, pattern: str) -> dict[str, bytes]:
    """Files of the root folder that a pattern names; `*` stays within a segment, a folder stands for all in it.

    Raises:
        Invalid: there is none.
    """
    paths = [""]
    for part in pattern.split("/"):
        paths = [
            f"{path}/{name}" if path else name
            for path in paths
            for name in reader.names(path)
            if fnmatchcase(name, part)
        ]
    files: dict[str, bytes] = {}
    for path in paths:
        inner = [f"{path}/{name}" for name in reader.walk(path)] if reader.is_folder(path) else [path]
        files.update(_read(reader, inner))
    if not files:
        raise Invalid("files: nothing matches {pattern}", pattern=repr(pattern))
    return files


def imported(source: str) -> set[str]:
    """Top-level names of the modules that a source imports, anywhere in it; none when it does not parse."""
    try:
        tree = parse(source, "module")
    except Invalid:
        return set()
    names = (name for node in ast.walk(tree) for name in _names(node))
    return {name.split(".")[0] for name in names if name}


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom(module=str(module), level=0):
            yield module
        case ast.Call(func=ast.Name(id=loader) | ast.Attribute(attr=loader), args=[ast.Constant(value=str(name)), *_]):
            if loader in _LOADERS and not name.startswith("."):
                yield name


def _module(reader: Reader, module: str) -> Iterator[tuple[str, bytes]]:
    """The files of one module, in Python's order: a package, a file, a folder without `__init__.py`."""
    if reader.is_file(f"{module}/__init__.py"):
        yield from _read(reader, [f"{module}/{path}" for path in reader.walk(module)])
    elif reader.is_file(f"{module}.py"):
        yield from _read(reader, [f"{module}.py"])
    elif reader.is_folder(module):
        yield from _read(reader, [f"{module}/{path}" for path in reader.walk(module, ".py")])


def _read(reader: Reader, paths: list[str]) -> Iterator[tuple[str, bytes]]:
    for path in paths:
        data = reader.read(path)
        if data is not None:
            yield path, data


def _text(path: str, data: bytes) -> Iterator[str]:
    if not path.endswith(".py"):
        return
    try:
        yield decode(data, path)
    except Invalid:
        return  # what is no Python imports nothing
