"""Files of a folder."""

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker.places.base import Place
from pumasi.broker.places.folder import FolderPlace
from pumasi.errors import Invalid, Unavailable
from tests.blobs.law import Law, listed, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def place(folder: Path) -> Place:
    place = FolderPlace(str(folder))
    place.check()
    return place


class TestFolder(Law):
    pass


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nobody_else_may_read_them(place: Place, folder: Path) -> None:
    place.put("artifact/a/1/x/y", b"1")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")] if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(folder)} == {0o600}


def test_folders_go_with_the_last_file(place: Place, folder: Path) -> None:
    place.put("artifact/a/1/x/y", b"1")
    place.put("artifact/b/1/x", b"1")
    (item,) = listed(place, "artifact/a/")
    place.delete(item)
    assert sorted(path.name for path in (folder / "artifact").iterdir()) == ["b"]


def test_folders_removed_as_empty_come_back_for_a_writer(place: Place) -> None:
    stop = threading.Event()

    def remove() -> None:
        while not stop.is_set():
            for item in listed(place, "artifact/a/1/old"):
                place.delete(item)

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        for n in range(100):
            place.put("artifact/a/1/old", b"")
            place.put(f"artifact/a/1/new/{n}", b"1")
    finally:
        stop.set()
        remover.join()
    assert len(listed(place, "artifact/a/1/new/")) == 100


def test_a_writer_that_dies_leaves_nothing_for_long(place: Place, folder: Path) -> None:
    place.put("result/a/1", b"1")
    dead, living = folder / "result" / "a" / ".0f.part", folder / "result" / "a" / ".1f.part"
    for path in (dead, living):
        path.write_bytes(b"half")
    os.utime(dead, (1.0, 1.0))
    assert [item.key for item in listed(place)] == ["result/a/1"]
    assert not dead.exists() and living.exists()


def test_what_was_written_anew_comes_back_from_the_grave(place: Place, folder: Path) -> None:
    place.put("result/a/1", b"1")
    (item,) = listed(place)
    os.utime(files(folder)[0])
    place.delete(item)
    assert read(place, "result/a/1") == b"1"


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (errno.ENOSPC, Unavailable, "no room left"),
        (errno.EDQUOT, Unavailable, "no room left"),
        (errno.EIO, Unavailable, "see whether its disk"),
        (errno.EROFS, Unavailable, "let Pumasi's user write there"),
    ],
)
def test_a_disk_that_fails_is_no_end(
    place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], said: str
) -> None:
    place.put("result/a/1", b"old")

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=said):
        place.put("result/a/1", b"new")
    monkeypatch.undo()
    assert read(place, "result/a/1") == b"old"
    assert len(files(folder)) == 1


def test_a_folder_that_cannot_be_used_is_told_at_start(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match="the folder above"):
        FolderPlace(str(folder / "deeper")).check()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Invalid, match="is no folder"):
            FolderPlace(str(path)).check()

    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Invalid, match="let Pumasi's user write there"):
        FolderPlace(str(folder)).check()


def test_a_folder_that_went_away_is_waited_for(place: Place, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(Unavailable):
        place.put("result/a/1", b"1")
    assert not folder.exists()  # what was mounted there is not replaced by a folder of this disk
