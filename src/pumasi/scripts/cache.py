"""Scripts on a worker's disk, by the digest of their content: written once, read only, the same for everybody.

    <folder>/<digest>/files/…       what the script sees, copied or overlaid, never written to
    <folder>/<digest>/entry_point   which of them is run, or names the command to run
    <folder>/.new-…                 being written; renamed into place when it is whole and on disk

Any number of processes share a folder: an entry appears complete or not at all, and whoever comes second keeps the
first. What a process has not used before it reads back and hashes: a damaged entry is taken away and fetched anew.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from pumasi.errors import Invalid
from pumasi.scripts import bundle
from pumasi.scripts.manifest import Manifest, read_manifest
from pumasi.scripts.reader import Reader

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NEW = ".new-"
# Seconds: how often a use is written down, and how long something unfinished may lie before it is nobody's.
_TOUCH = 60.0
_ABANDONED = 3600.0
# Modes: what a script's process, perhaps of another uid, can read and enter; and what we still rename and touch.
_READ_ONLY, _OWN = 0o555, 0o755


class Cached(Struct, frozen=True):
    """A script in the cache; nothing below `path` may be written."""

    digest: str
    #: the folder that holds its files
    path: Path
    manifest: Manifest
    entry_point: str

    @property
    def entry_path(self) -> Path:
        """The file to run; of a command, its manifest."""
        return self.path / self.entry_point


class Cache:
    """The cache in one folder, made when it is first needed. Safe for threads, and for processes side by side."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._verified: dict[str, tuple[Cached, float]] = {}
        self._lock = threading.Lock()

    def known(self, digest: str) -> Cached | None:
        """The script of this content if it was used here a moment ago; quick enough for an event loop."""
        cached, touched = self._verified.get(digest, (None, 0.0))
        return cached if cached is not None and time.monotonic() - touched < _TOUCH and cached.path.is_dir() else None

    async def get(self, digest: str) -> Cached | None:
        """The script of this content, or None when it is not here (any more), or was damaged.

        Raises:
            OSError: the folder cannot be used.
        """
        return await asyncio.to_thread(self._get, digest)

    async def put(self, files: dict[str, bytes]) -> Cached:
        """Keep a bundle (`bundle.with_entry`); on disk when this returns.

        Raises:
            Invalid: its paths or manifest are not in order.
            OSError: the folder cannot be written.
        """
        return await asyncio.to_thread(self._put, files)

    async def clean(self, older_than: float) -> int:
        """Take away what nobody used for `older_than` seconds (and a minute, the grain of the record); how many."""
        return await asyncio.to_thread(self._clean, older_than)

    def _get(self, digest: str) -> Cached | None:
        if not _DIGEST.fullmatch(digest):
            return None
        if (cached := self.known(digest)) is not None:
            return cached
        with self._lock:
            cached, _ = self._verified.get(digest, (None, 0.0))
        if not self._touch(digest):
            with self._lock:
                self._verified.pop(digest, None)
            return None
        cached = cached or self._verify(digest)
        return None if cached is None else self._keep(cached)

    def _put(self, files: dict[str, bytes]) -> Cached:
        bundle.check_paths(files)
        digest, entry = bundle.digest(files), bundle.entry_of(files)
        manifest = read_manifest(files, entry, entry_point=entry)
        known = self._get(digest)
        if known is not None:
            return known
        self.folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            _write(new, files, entry)
            self._publish(new, self.folder / digest)
        finally:
            _remove(new)
        return self._keep(Cached(digest, self.folder / digest / "files", manifest, entry))

    def _publish(self, new: Path, place: Path) -> None:
        with self._locked(fcntl.LOCK_EX):
            # Somebody else may have been quicker: theirs is as good.
            with contextlib.suppress(FileExistsError):
                if not place.exists():
                    new.rename(place)
            os.utime(place)
        _sync(self.folder)

    def _verify(self, digest: str) -> Cached | None:
        """The entry as it lies on disk, read back and hashed."""
        place = self.folder / digest
        reader = Reader(place)
        try:
            entry = (reader.read("entry_point") or b"").decode()
            inner = Reader(place / "files")
            found = {path: inner.read(path) for path in _tree(place / "files")}
            files = {path: data for path, data in found.items() if data is not None}
            if len(files) == len(found) and bundle.digest(bundle.with_entry(files, entry)) == digest:
                return Cached(digest, place / "files", read_manifest(files, entry, entry_point=entry), entry)
        except (Invalid, UnicodeError):
            pass  # falls under damaged, like any other content that does not hash to its name
        self._discard(place)
        return None

    def _discard(self, place: Path) -> None:
        """Take an entry out of sight in one step, then away."""
        aside = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        with self._locked(fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
            place.rename(aside / "old")
        _remove(aside)

    def _clean(self, older_than: float) -> int:
        if not self.folder.is_dir():
            return 0
        removed = 0
        for entry in list(os.scandir(self.folder)):
            limit = _ABANDONED if entry.name.startswith(_NEW) else older_than + _TOUCH
            if entry.name.startswith(_NEW) or _DIGEST.fullmatch(entry.name):
                removed += self._clean_one(Path(entry.path), limit)
        return removed

    def _clean_one(self, place: Path, limit: float) -> int:
        aside = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            with self._locked(fcntl.LOCK_EX):
                if time.time() - place.stat().st_mtime < limit:
                    return 0
                place.rename(aside / "old")
        except FileNotFoundError:
            return 0
        finally:
            _remove(aside)
        with self._lock:
            self._verified.pop(place.name, None)
        return 1

    def _touch(self, digest: str) -> bool:
        """Write down that an entry is in use; False when it is not there."""
        try:
            with self._locked(fcntl.LOCK_SH):
                os.utime(self.folder / digest)
        except FileNotFoundError:
            return False
        return True

    def _keep(self, cached: Cached) -> Cached:
        with self._lock:
            self._verified[cached.digest] = (cached, time.monotonic())
        return cached

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Between processes: cleaning shuts out everybody who is just taking an entry into use."""
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def _write(place: Path, files: dict[str, bytes], entry: str) -> None:
    """The whole entry, on disk, nothing of it writable."""
    folder = place / "files"
    folder.mkdir()
    for path, data in files.items():
        if path != bundle.ENTRY:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _write_file(folder / path, data)
    _write_file(place / "entry_point", entry.encode())
    for at, _, _ in os.walk(place, topdown=False):
        _sync(Path(at))
        if at != str(place):  # its own name and time still change
            os.chmod(at, _READ_ONLY)
    os.chmod(place, _OWN)


def _write_file(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        # A bundle has no modes: what says how to be run may be run.
        os.fchmod(file.fileno(), _READ_ONLY if data.startswith(b"#!") else 0o444)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tree(folder: Path) -> Iterator[str]:
    """Everything in a folder that is no folder itself; what has no business there is hashed with the rest."""
    for at, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(at, name), folder)


def _remove(place: Path) -> None:
    """Take a tree away, read-only folders and all; one that is already gone is no matter."""
    for at, _, _ in os.walk(place):
        with contextlib.suppress(FileNotFoundError):
            os.chmod(at, stat.S_IRWXU)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place)
