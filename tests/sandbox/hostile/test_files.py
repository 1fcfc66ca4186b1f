"""Scripts against files: floods of them, those of others, those that the worker will touch after them."""

import os
from pathlib import Path

import pytest

from pumasi.core.job import State
from tests.sandbox.hostile.bench import Bench, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

DISK = {"disk": "8MB"}


async def test_disk_flood(bench: Bench) -> None:
    source = "def main():\n    for n in range(4): fill(str(n), 6)\n    sleep_on()"
    await bench.row("disk flood", source, limits=DISK, timeout=10.0)


async def test_disk_flood_in_one_file(bench: Bench) -> None:
    await bench.row("one large file", "def main():\n    fill('file', 40)\n    sleep_on()", limits=DISK, timeout=10.0)


async def test_file_flood(bench: Bench) -> None:
    source = """
def main():
    for n in range(5000): open(str(n), "w").close()
    can("make 5000 empty files", bool, True)
    return could
"""
    await bench.row("file flood", source, limits=DISK)


async def test_deep_folders(bench: Bench) -> None:
    source = """
def main():
    for name in (b"a\\nb", b"\\xff\\xfe", b"-rf", b" "): os.mkdir(name, 0)
    for _ in range(3000):
        os.mkdir("d", 0o700)
        os.chdir("d")
    os.chmod(".", 0)
    return could
"""
    await bench.row("deep folders", source)


async def test_many_descriptors(bench: Bench) -> None:
    source = """
def main():
    can("raise its limit of open files", resource.setrlimit, resource.RLIMIT_NOFILE, (200, 2000))
    kept = []
    try:
        while len(kept) < 5000: kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    can("open 5000 files", lambda: len(kept) == 5000)
    for fd in kept: os.close(fd)
    return could
"""
    job = await bench.row("many descriptors", source, limits={"open_files": 100})
    assert job.state is State.COMPLETED


async def test_files_of_others(bench: Bench) -> None:
    folder = bench.system.folder
    secret = folder / "data" / "secret"
    secret.write_text("token")
    secret.chmod(0o600)
    scratch = folder / "data" / "scratch" / "worker-1" / "job-1"
    scratch.mkdir(parents=True, mode=0o700, exist_ok=True)
    try:
        source = """
def main(data, scripts, home):
    can("read a secret of the worker's", lambda: open(data + "/secret").close())
    can("list the cache", os.listdir, data + "/cache")
    can("list the scratch folders", os.listdir, data + "/scratch")
    can("enter the scratch of another job", os.listdir, data + "/scratch/worker-1/job-1")
    can("list the folder of scripts", os.listdir, scripts)
    can("list the worker's home", lambda: any(not sys.base_prefix.startswith(f"{home}/{name}") for name in
        os.listdir(home)))
    can("read /etc/shadow", lambda: open("/etc/shadow").close())
    return could
"""
        home = os.path.expanduser("~")
        job = await bench.run(source, {"data": str(folder / "data"), "scripts": str(folder / "scripts"), "home": home})
    finally:
        scratch.rmdir()
        scratch.parent.rmdir()
    bench.compare("files of others", job, [*said(job), *bench.left_of(job)])
    await bench.settled()


async def test_poison(bench: Bench) -> None:
    """Files are opened to be written, and not written."""
    cached = next((bench.system.folder / "data" / "cache").glob("*/files/next.py"))
    source = """
import json
def opened(path):
    mode = os.stat(path).st_mode & 0o7777
    if not os.access(path, os.W_OK): os.chmod(path, mode | 0o200)
    try: os.close(os.open(path, os.O_WRONLY))
    finally: os.chmod(path, mode)

def main(cached):
    made = lambda path: os.unlink(path) if os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)) is None else 0
    can("write to the cache", opened, cached)
    can("write to the cache as it sees it", opened, "/.cache/" + "/".join(cached.split("/")[-3:]))
    can("write to the standard library", opened, os.path.realpath(json.__file__))
    can("make a file beside the standard library", made, os.path.dirname(os.path.realpath(json.__file__)) + "/" + MARK)
    can("make a file in /usr/bin", made, "/usr/bin/" + MARK)
    can("make a file in /etc", made, "/etc/" + MARK)
    can("make a file in /", made, "/" + MARK)
    open("hostile.py", "w").close()
    return could
"""
    await bench.row("poison", source, {"cached": str(cached)})


async def test_artifacts(bench: Bench, tmp_path: Path) -> None:
    """Whatever lies where a declared artifact should is left alone; the job itself is in order."""
    source = """
import json
def main():
    open("good.txt", "w").write("good")
    os.symlink("/etc/passwd", "link")
    os.symlink("/etc", "folder")
    os.mkfifo("fifo")
    os.link("good.txt", "hard")
    open("own.txt", "w").write("own")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    try: os.mknod("device", 0o20600, os.makedev(1, 5))
    except OSError: pass
    for name in ("own.txt", "link", "folder/passwd", "fifo", "hard", "socket", "device", "../work/own.txt",
                 "/etc/passwd", "/proc/self/environ", "no\\0name"):
        os.write(4, json.dumps({"artifact": name}).encode() + b"\\n")
    return could
"""
    job = await bench.row("artifacts", source)
    assert job.artifacts == ("own.txt",)
    assert len(job.warnings) == 10


async def test_descriptors_at_birth(bench: Bench) -> None:
    source = """
def main():
    there = [int(name) for name in os.listdir("/proc/self/fd")]
    can("find an open descriptor", lambda: any(os.path.exists(f"/proc/self/fd/{fd}") for fd in there if fd not in
        (0, 1, 2, 4)))
    can("reach a folder of the host's through its own", lambda: os.path.exists("/proc/self/cwd/../../../etc/shadow"))
    can("reach the host's root", lambda: os.stat("/").st_ino == os.stat("/proc/1/root").st_ino and os.getpid() > 999)
    return could
"""
    await bench.row("descriptors at birth", source)
