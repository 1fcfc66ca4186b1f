"""Which paths, how many files and how many bytes a script may have: one rule for folders, bundles and archives."""

import unicodedata
from collections.abc import Iterable

from pumasi.errors import Invalid
from pumasi.units import format_size

#: bytes and files of a script
MAX_BYTES = 64 * 1024 * 1024
MAX_FILES = 4000

_MAX_PATH = 1024
_MAX_SEGMENT = 255


def check_size(files: dict[str, bytes]) -> None:
    """Raises: Invalid when there are too many files, or too many bytes."""
    total = sum(map(len, files.values()))
    if total > MAX_BYTES:
        raise Invalid(
            "the script's files have {size} together; {limit} are allowed",
            size=format_size(total),
            limit=format_size(MAX_BYTES),
        )
    if len(files) > MAX_FILES:
        raise Invalid("the script has {count} files; {limit} are allowed", count=len(files), limit=MAX_FILES)


def check_paths(paths: Iterable[str]) -> None:
    """Raises: Invalid for a path that could lead astray, and for two that a case-blind file system takes for one."""
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in sorted(paths):
        check_path(path)
        _enter(seen, path)
        parts = path.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            _enter(folders, "/".join(parts[:end]))
    for key in folders.keys() & seen.keys():
        raise Invalid("{file} is a file and a folder at once", file=repr(seen[key]))


def _enter(seen: dict[str, str], path: str) -> None:
    key = unicodedata.normalize("NFC", path).casefold()
    other = seen.setdefault(key, path)
    if other != path:
        raise Invalid("{one} and {other} differ only in case; rename one", one=repr(other), other=repr(path))


def check_path(path: str) -> None:
    """Raises: Invalid for a path that is absolute, climbs, or has parts that no file should be called."""
    parts = path.split("/")
    good = (
        all(part not in ("", ".", "..") and len(part.encode(errors="replace")) <= _MAX_SEGMENT for part in parts)
        and len(path) <= _MAX_PATH
        and "\\" not in path
        and not any(unicodedata.category(char) in ("Cc", "Cs") for char in path)
    )
    if not good:
        raise Invalid("{file} is no path a script's file may have; rename it or take it away", file=repr(path[:200]))
