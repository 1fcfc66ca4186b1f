"""Scratch folders go, whatever a script has done inside them."""

import os
import subprocess
import sys
from pathlib import Path

from pumasi.runner.artifacts import collect
from pumasi.runner.scratch import ScratchRoot, remove


def script(folder: Path) -> Path:
    source = folder / "source"
    (source / "inner").mkdir(parents=True)
    (source / "a.py").write_text("print(1)")
    (source / "inner" / "b.txt").write_text("b")
    (source / "a.py").chmod(0o444)
    return source


def test_a_script_gets_a_writable_copy_of_its_folder(tmp_path: Path) -> None:
    root = ScratchRoot(tmp_path / "scratch", "w")
    root.open()
    folder = root.filled("job", 1, script(tmp_path), None)
    (folder / "work" / "a.py").write_text("changed")
    assert (folder / "work" / "inner" / "b.txt").read_text() == "b"
    assert (tmp_path / "source" / "a.py").read_text() == "print(1)"
    root.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_tree_too_deep_for_any_path_and_closed_to_its_owner_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "hostile"
    code = """
import os
for _ in range(3000):
    os.mkdir("d" * 50); open(b"n\\n\\xff", "w").close(); os.chdir("d" * 50)
os.mkdir("closed"); open("closed/file", "w").close(); os.chmod("closed", 0); os.symlink("/etc", "link");
os.mkfifo("fifo") """
    folder.mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    remove(folder)
    assert not folder.exists()
    assert os.path.exists("/etc/passwd")


def test_folders_of_dead_workers_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid in (dead.pid, os.getppid()):
        (tmp_path / f"other-{pid}" / "job-1").mkdir(parents=True)
    ScratchRoot(tmp_path, "w").open()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"other-{os.getppid()}", f"w-{os.getpid()}"])


def test_artifacts_are_plain_files_of_the_folder_and_nothing_else(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "out").mkdir(parents=True)
    (work / "out" / "page.png").write_bytes(b"png")
    (work / "big").write_bytes(b"x" * 100)
    (tmp_path / "secret").write_text("secret")
    (work / "link").symlink_to(tmp_path / "secret")
    (work / "folder-link").symlink_to(tmp_path)
    os.link(tmp_path / "secret", work / "hard")
    os.mkfifo(work / "fifo")
    names = [
        "out/page.png",
        "link",
        "folder-link/secret",
        "../secret",
        str(tmp_path / "secret"),
        "hard",
        "fifo",
        "out",
        "no",
        "big",
    ]
    scratch = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    found = collect(scratch, names, ["out/*"], limit=50)
    os.close(scratch)
    assert found.files == {"out/page.png": b"png"}
    assert len(found.refused) == len(names) - 1


def test_a_script_that_took_its_folder_away_has_no_artifacts(tmp_path: Path) -> None:
    scratch = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    found = collect(scratch, ["page.png"], ["*"])
    os.close(scratch)
    assert found.files == {}
    assert len(found.refused) == 1
