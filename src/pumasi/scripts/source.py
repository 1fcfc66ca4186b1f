"""Python source as bytes: decoded as Python itself would (PEP 263), and parsed without running any of it."""

import ast
import io
import threading
import tokenize
import warnings

from pumasi.errors import Invalid
from pumasi.units import format_size

#: bytes of a source that is parsed; data belongs into files of its own
MAX_SOURCE = 8 * 1024 * 1024

# `catch_warnings` changes the process, so only one thread at a time may be inside.
_parsing = threading.Lock()


def decode(data: bytes, name: str) -> str:
    """The text of a source file; `name` is for messages. Raises: Invalid, naming file and line where it can."""
    if len(data) > MAX_SOURCE:
        raise Invalid(
            "{file} has {size}; a Python file may have {limit}: put data into files of its own beside it",
            file=name,
            size=format_size(len(data)),
            limit=format_size(MAX_SOURCE),
        )
    if b"\0" in data:
        raise Invalid(
            "{file}, line {line}: a NUL byte; this is no Python source", file=name, line=_line(data, data.index(0))
        )
    encoding, wrong = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Invalid(
            "{file}, line {line}: not {encoding}; save the file as UTF-8, or name its encoding in the first line",
            file=name,
            line=_line(data, error.start),
            encoding=encoding.removesuffix("-sig"),
        ) from None
    if wrong:
        raise Invalid("{file}, line {line}: {problem}", file=name, line=1, problem=wrong)
    return text.removeprefix("\ufeff")


def parse(text: str, name: str) -> ast.Module:
    """The syntax tree of a source, checked as far as compiling goes. Raises: Invalid, naming file and line."""
    try:
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how a script is written is its author's business
            tree = ast.parse(text, name)
            compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise Invalid(
            "{file}, line {line}: {problem}", file=name, line=error.lineno or 1, problem=_problem(error)
        ) from None
    except (RecursionError, MemoryError):
        raise Invalid("{file} is nested too deeply to be compiled", file=name) from None
    except ValueError as error:
        raise Invalid("{file} cannot be compiled: {problem}", file=name, problem=str(error)) from None
    return tree


def _encoding(data: bytes) -> tuple[str, str]:
    """What a source says it is written in, and what is wrong with that; utf-8 where it says nothing of use."""
    try:
        return tokenize.detect_encoding(io.BytesIO(data).readline)[0], ""
    except SyntaxError as error:
        return "utf-8", error.msg


def _problem(error: SyntaxError) -> str:
    shown = (error.text or "").strip()[:80]
    return f"{error.msg}: {shown}" if shown else error.msg


def _line(data: bytes, position: int) -> int:
    return data.count(b"\n", 0, position) + 1
