"""A job's scratch folder: made for one attempt, gone after it, whatever the script has done inside.

A process with a root of its own mounts its scratch itself, from memory, or finds an empty folder of ours there. Where
there is none, it gets

<root>/<worker>-<pid>/<job>-<attempt>/  HOME
                                        work  the script's folder, a private writable copy: its working directory
                                        tmp   TMPDIR
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pumasi.errors import SandboxFault

#: names that no script can have guessed
_ASIDE = f".aside-{os.urandom(8).hex()}"


class ScratchRoot:
    """Where one worker keeps the scratch folders of its jobs."""

    def __init__(self, root: Path, worker: str) -> None:
        self._root = root.absolute()
        self._mine = self._root / f"{worker}-{os.getpid()}"

    def open(self) -> None:
        """Make ours, and remove what workers left that are dead."""
        self._mine.mkdir(parents=True, exist_ok=True)
        self._mine.chmod(0o711)  # the users of slots pass through it, and see nothing
        for other in self._root.iterdir():
            pid = other.name.rpartition("-")[2]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                remove(other)

    def close(self) -> None:
        """Remove ours."""
        remove(self._mine)

    @property
    def folder(self) -> Path:
        """Where the scratch folders are."""
        return self._mine

    def empty(self, job_id: str, attempt: int, uid: int | None) -> Path:
        """A scratch folder with nothing in it, of that user. Raises: SandboxFault."""
        return self._made(job_id, attempt, None, uid)

    def filled(self, job_id: str, attempt: int, source: Path, uid: int | None) -> Path:
        """A scratch folder with a copy of the script in `work`, all of it that user's. Raises: SandboxFault."""
        return self._made(job_id, attempt, source, uid)

    def _made(self, job_id: str, attempt: int, source: Path | None, uid: int | None) -> Path:
        folder = self._mine / f"{job_id.replace('/', '_')[:100]}-{attempt}"
        try:
            folder.mkdir(mode=0o700)
            if source is not None:
                (folder / "tmp").mkdir(mode=0o700)
                _copy(source, folder / "work")
            if uid is not None:
                _give(folder, uid)
        except OSError as error:
            remove(folder)
            raise SandboxFault("no scratch folder: {reason}; free space below {folder}",
                               reason=str(error), folder=str(self._mine)) from error  # fmt: skip
        return folder


def remove(folder: Path) -> None:
    """Remove a tree that may be deep, wide, and closed to its owner: no recursion, no path longer than a name.

    Folders found inside are moved up to the top before they are emptied, so that depth never grows.
    """
    with contextlib.suppress(FileNotFoundError):
        folder.chmod(0o700)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            moved = 0
            while names := os.listdir(top):
                for name in names:
                    moved = _flatten(top, name, moved)
        finally:
            os.close(top)
        folder.rmdir()


def _flatten(top: int, name: str, moved: int) -> int:
    """Remove an entry of `top`; folders inside it become entries of `top`."""
    with _opened(top, name) as inside:
        if inside is None:
            return moved
        with os.scandir(inside) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for child, is_folder in found:
            if is_folder:
                moved += 1
                with contextlib.suppress(OSError):
                    os.chmod(child, 0o700, dir_fd=inside)
                os.rename(child, f"{_ASIDE}-{moved}", src_dir_fd=inside, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=inside)
    os.rmdir(name, dir_fd=top)
    return moved


@contextlib.contextmanager
def _opened(top: int, name: str) -> Iterator[int | None]:
    """A folder's fd; anything else is unlinked, and yields None."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        yield None
        return
    os.chmod(name, 0o700, dir_fd=top)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        yield fd
    finally:
        os.close(fd)


def _copy(source: Path, target: Path) -> None:
    """The script's files as its own: writable, runnable where they were."""
    target.mkdir(mode=0o700)
    for folder, folders, files in os.walk(source):
        here = target / Path(folder).relative_to(source)
        for name in folders:
            (here / name).mkdir(mode=0o700)
        for name in files:
            shutil.copyfile(Path(folder, name), here / name)
            mode = os.stat(Path(folder, name)).st_mode
            (here / name).chmod(0o700 if mode & 0o100 else 0o600)


def _give(folder: Path, uid: int) -> None:
    """Everything below, and the folder itself, to a user."""
    for here, _, files in os.walk(folder):
        os.chown(here, uid, uid)
        for name in files:
            os.chown(Path(here, name), uid, uid)
