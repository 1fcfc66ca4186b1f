"""A folder that every process of Pumasi sees: of one machine, or shared by all of them.

A file is written beside its place, brought to the disk and renamed, so that it is whole or not there. What lies there
is for the user that Pumasi runs as, and nobody else.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator

from pumasi.broker.places.base import STEP, Found, Item, Place
from pumasi.broker.places.keys import file_of, folder_of, key_of
from pumasi.errors import Error, Invalid, Unavailable

#: the mark of a file still being written, and the seconds after which its writer is dead
_UNFINISHED = ".part"
_ABANDONED = 24 * 3600.0
#: how often a folder that is removed as empty is made again for a file
_TRIES = 5

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class FolderPlace(Place):
    """Files in folders, named after their keys."""

    def __init__(self, folder: str) -> None:
        self._top = folder
        self.name = f"file://{folder}"

    @property
    def may_be_made(self) -> bool:
        """Whether it is not there yet, and can be."""
        return not os.path.lexists(self._top) and os.path.isdir(os.path.dirname(self._top))

    def check(self) -> None:
        with self._gate():
            try:
                os.mkdir(self._top, 0o700)
            except FileExistsError:
                pass
            except FileNotFoundError as error:
                text = "the folder above {place} does not exist; make it, or mount what belongs there"
                raise self.refusal(Invalid(text, place=self.name)) from error
            os.unlink(self._written(self._top, b""))
        self.proven = True

    def put(self, key: str, data: bytes) -> None:
        with self._gate():
            path = self._path(file_of(key))
            for last in [False] * _TRIES + [True]:
                try:
                    folder = self._made(os.path.dirname(path))
                    written = self._written(folder, data)
                    break
                except FileNotFoundError:  # the folder was empty, and was removed, just now
                    if last:
                        raise
            try:
                os.replace(written, path)
            except OSError:
                os.unlink(written)
                raise
            _sync(folder)

    def find(self, key: str) -> Found | None:
        path = self._path(file_of(key))
        with self._gate():
            try:
                return Found(os.stat(path).st_size, lambda: self._read(path))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def items(self, prefix: str) -> Iterator[list[Item]]:
        items: list[Item] = []
        abandoned = time.time() - _ABANDONED
        for path, status in self._files(self._path(folder_of(prefix))):
            if path.endswith(_UNFINISHED) and status.st_mtime < abandoned:
                self._remove(path)
            key = key_of(os.path.relpath(path, self._top))
            if key is not None and key.startswith(prefix):
                items.append(Item(key, status.st_size, status.st_mtime))
            if len(items) >= STEP:
                yield items
                items = []
        if items:
            yield items

    def delete(self, item: Item) -> None:
        path = self._path(file_of(item.key))
        with self._gate(), contextlib.suppress(FileNotFoundError):
            grave = os.path.join(os.path.dirname(path), _unfinished())
            os.rename(path, grave)
            if os.stat(grave).st_mtime != item.at and not os.path.exists(path):
                os.rename(grave, path)  # it was written anew
                return
            os.unlink(grave)
            self._remove_empty(os.path.dirname(path))

    def _path(self, below: str) -> str:
        return os.path.join(self._top, below) if below else self._top

    def _read(self, path: str) -> bytes | None:
        with self._gate():
            try:
                with open(path, "rb") as file:
                    return file.read()
            except FileNotFoundError:
                return None

    def _written(self, folder: str, data: bytes) -> str:
        """A new file with these bytes on its disk."""
        path = os.path.join(folder, _unfinished())
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb", buffering=0) as file:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                os.fsync(fd)
        except OSError:
            os.unlink(path)
            raise
        return path

    def _made(self, folder: str) -> str:
        """The folder, with those above it, up to our own."""
        if folder != self._top and not os.path.isdir(folder):
            above = self._made(os.path.dirname(folder))
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
                _sync(above)
        return folder

    def _files(self, top: str) -> Iterator[tuple[str, os.stat_result]]:
        """All files below, in whatever order; what goes away meanwhile is left out."""
        with self._gate():
            try:
                names = os.listdir(top)
            except (FileNotFoundError, NotADirectoryError):
                return
        for name in names:
            path = os.path.join(top, name)
            with self._gate():
                try:
                    status = os.lstat(path)
                except FileNotFoundError:
                    continue
            if stat.S_ISDIR(status.st_mode):
                yield from self._files(path)
            elif stat.S_ISREG(status.st_mode):
                yield path, status

    def _remove(self, path: str) -> None:
        with self._gate(), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _remove_empty(self, folder: str) -> None:
        with contextlib.suppress(OSError):  # it is not empty, or somebody was faster
            while folder != self._top:
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        """Errors of the system become ours."""
        try:
            yield
        except (OSError, UnicodeEncodeError) as error:
            raise self._meaning(error) from error

    def _meaning(self, error: OSError | UnicodeEncodeError) -> Error:
        if isinstance(error, UnicodeEncodeError):
            return Invalid("the name of a blob cannot be written in this system's encoding; set LANG=C.UTF-8")
        told = {"place": self.name, "detail": error.strerror or str(error)}
        if error.errno in _FULL:
            text = "the folder of the blobs, {place}, has no room left ({detail}); free space, or raise the quota"
            return Unavailable(text, **told)
        if error.errno in _REFUSED:
            text = "the folder of the blobs, {place}, cannot be used ({detail}); let Pumasi's user write there"
            return self.refusal(Invalid(text, **told))
        if error.errno == errno.ENOTDIR:
            return self.refusal(Invalid("{place} is no folder; name one in PUMASI_BLOBS", place=self.name))
        if error.errno == errno.ENAMETOOLONG:
            return Invalid("the name of a blob is too long; choose a shorter one")
        text = "the folder of the blobs, {place}, failed: {detail}; see whether its disk or its server is well"
        return Unavailable(text, **told)


def _unfinished() -> str:
    return f".{os.urandom(8).hex()}{_UNFINISHED}"


def _sync(folder: str) -> None:
    """Bring the names in a folder to its disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems know no such thing
            raise
    finally:
        os.close(fd)
