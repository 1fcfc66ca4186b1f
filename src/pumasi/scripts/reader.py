"""Reading below one folder and nowhere else, whatever lies in it: links that lead out, pipes, devices, endless files.

A path is believed only once it is open: where the descriptor really leads, and what it is, cannot change any more.
Everything looked at is remembered as a *seal*, by which a few `stat` calls tell later that all is as it was.
"""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from pumasi.errors import Invalid
from pumasi.scripts.paths import MAX_BYTES, MAX_FILES
from pumasi.units import format_size

#: folders that are never part of a script
SKIPPED_FOLDERS = frozenset({
    ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".pumasi", ".mypy_cache", ".pytest_cache",
    ".ruff_cache", ".tox", ".idea", ".vscode", ".ipynb_checkpoints",
})  # fmt: skip
_SKIPPED_ENDINGS = (".pyc", ".pyo", "~", ".swp")

# A change within one tick of the file system's clock leaves the times as they are; younger ones are not trusted.
_SETTLED_NS = 100_000_000

Stamp = tuple[int, int, int, int]


class Seal:
    """What was looked at, and how it looked: while `holds`, reading again would give the same."""

    def __init__(self) -> None:
        self._stamps: dict[str, Stamp | None] = {}
        self._newest = 0
        self._made = time.time_ns()

    def add(self, path: str, status: os.stat_result | None) -> None:
        """Remember how `path` looks; None: it is not there."""
        self._stamps[path] = None if status is None else _stamp(status)
        if status is not None:
            # Not the time of the last write: anybody may set that one, to the future as well.
            self._newest = max(self._newest, status.st_ctime_ns)

    def note(self, path: str) -> None:
        """Remember how `path` looks now."""
        try:
            self.add(path, os.stat(path))
        except OSError:
            self.add(path, None)

    def holds(self) -> bool:
        """Whether everything still looks the same, and was not so young that a change could have hidden."""
        settled = self._newest + _SETTLED_NS < self._made
        return settled and all(_look(path) == stamp for path, stamp in self._stamps.items())


class Reader:
    """The files below `root`, read with care. Not for several threads at once; one for each resolving."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.seal = Seal()
        self.seal.note(str(root))  # which may be a link, and lead elsewhere tomorrow
        self._bytes = 0

    def names(self, folder: str = "") -> list[str]:
        """The entries of a folder below the root, sorted; [] when it is none, or leads out.

        Raises:
            Invalid: it may not be read.
        """
        path = self._path(folder)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            self.seal.add(path, None)
            return []
        except OSError as error:
            raise _unreadable(folder or self.root, error) from None
        try:
            self.seal.add(path, os.fstat(descriptor))
            return sorted(os.listdir(descriptor)) if self._inside(descriptor) else []
        finally:
            os.close(descriptor)

    def is_file(self, path: str) -> bool:
        """Whether a regular file is there, without reading it."""
        return self._kind(path) == stat.S_IFREG

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there."""
        return self._kind(path) == stat.S_IFDIR

    def leads_out(self, path: str) -> bool:
        """Whether a path ends, by its links, somewhere that is not below the root."""
        return not self._below(os.path.realpath(self._path(path)))

    def read(self, path: str) -> bytes | None:
        """A regular file's content; None for what is none, is gone, or leads out.

        Raises:
            Invalid: it may not be read, or takes the script beyond its bounds.
        """
        real = self._path(path)
        if not self.is_file(path):
            return None
        try:
            # A pipe put in the file's place meanwhile must not hold us up.
            descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from None
        try:
            status = os.fstat(descriptor)
            self.seal.add(real, status)
            if not stat.S_ISREG(status.st_mode) or not self._inside(descriptor):
                return None
            return self._content(descriptor, path, status.st_size)
        finally:
            os.close(descriptor)

    def walk(self, folder: str, ending: str = "") -> Iterator[str]:
        """The files below a folder that may belong to a script, as paths from `folder`, all or those with an ending.

        Raises:
            Invalid: there are more than a script may have.
        """
        waiting, count = [""], 0
        visited: set[str] = set()
        while waiting:
            at = waiting.pop()
            real = os.path.realpath(self._path(_join(folder, at)))
            if real in visited:  # a link to a folder above would go round for ever
                continue
            visited.add(real)
            for name in self.names(_join(folder, at)):
                path = _join(at, name)
                if self.is_folder(_join(folder, path)):
                    waiting.extend([path] if name not in SKIPPED_FOLDERS else [])
                elif _belongs(name, ending) and self.is_file(_join(folder, path)):
                    count += 1
                    if count > MAX_FILES:
                        raise Invalid("{folder} has more than {limit} files", folder=repr(folder), limit=MAX_FILES)
                    yield path

    def _content(self, descriptor: int, path: str, size: int) -> bytes:
        left = MAX_BYTES - self._bytes
        parts: list[bytes] = []
        while max(size, 0) <= left:  # what is too large by its own account is not read at all
            part = os.read(descriptor, min(left + 1, 1 << 20))
            if not part:
                self._bytes = MAX_BYTES - left
                return b"".join(parts)
            parts.append(part)
            left, size = left - len(part), 0
        raise Invalid(
            "{file} is too large: a script's files may have {limit} together", file=path, limit=format_size(MAX_BYTES)
        )

    def _kind(self, path: str) -> int | None:
        try:
            return stat.S_IFMT(os.stat(self._path(path)).st_mode)
        except (OSError, ValueError):
            return None

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _inside(self, descriptor: int) -> bool:
        return self._below(os.readlink(f"/proc/self/fd/{descriptor}"))

    def _below(self, real: str) -> bool:
        return real == self.root or real.startswith(self.root.rstrip("/") + "/")


def _belongs(name: str, ending: str) -> bool:
    return name.endswith(ending) and not name.endswith(_SKIPPED_ENDINGS)


def _unreadable(path: str, error: OSError) -> Invalid:
    return Invalid("{file} cannot be read: {problem}", file=path, problem=error.strerror or str(error))


def _look(path: str) -> Stamp | None:
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name
