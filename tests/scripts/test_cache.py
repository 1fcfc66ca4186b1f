"""The cache: complete or not there, read only, damaged entries gone, several processes at once."""

import asyncio
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pumasi.errors import FetchFault, Invalid, Unavailable
from pumasi.scripts import bundle
from pumasi.scripts.cache import Cache
from pumasi.scripts.fetch import BLOB, fetch

FILES = bundle.with_entry(
    {"main.py": b"# /// script\n# tool.pumasi.priority = 4\n# ///\n", "lib/x.py": b"X = 1", "run.sh": b"#!/bin/sh\n"},
    "main.py",
)
DIGEST = bundle.digest(FILES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


async def test_put_and_get(folder: Path) -> None:
    cache = Cache(folder)
    assert await cache.get(DIGEST) is None
    cached = await cache.put(FILES)
    assert cached == await cache.get(DIGEST) == await Cache(folder).get(DIGEST)
    assert (cached.digest, cached.entry_point, cached.manifest.priority) == (DIGEST, "main.py", 4)
    assert cached.entry_path.read_bytes() == FILES["main.py"]
    assert sorted(str(path.relative_to(cached.path)) for path in cached.path.rglob("*.*")) == [
        "lib/x.py",
        "main.py",
        "run.sh",
    ]


async def test_a_command_is_kept_with_its_manifest(folder: Path) -> None:
    files = bundle.with_entry({"pumasi.toml": b'command = ["./run.sh", "x"]', "run.sh": b"#!/bin/sh\n"}, "pumasi.toml")
    cached = await Cache(folder).put(files)
    assert cached == await Cache(folder).get(bundle.digest(files))
    assert (cached.entry_point, cached.manifest.command) == ("pumasi.toml", ("./run.sh", "x"))
    assert stat.S_IMODE((cached.path / "run.sh").stat().st_mode) == 0o555


async def test_nothing_in_it_is_writable(folder: Path) -> None:
    cached = await Cache(folder).put(FILES)
    for path in (cached.path, *cached.path.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o555 if path.is_dir() or path.suffix == ".sh" else 0o444)


async def test_nothing_unfinished_stays(folder: Path) -> None:
    await Cache(folder).put(FILES)
    await Cache(folder).put(FILES)
    assert sorted(os.listdir(folder)) == sorted([DIGEST, ".lock"])


@pytest.mark.parametrize("digest", ["", "..", "x" * 64, "../" + "0" * 61, "0" * 63, DIGEST.upper()])
async def test_only_digests_are_looked_for(folder: Path, digest: str) -> None:
    await Cache(folder).put(FILES)
    assert await Cache(folder).get(digest) is None


def _change(folder: Path) -> None:
    path = folder / DIGEST / "files/lib/x.py"
    path.chmod(0o644)
    path.write_bytes(b"X = 2")


def _remove(folder: Path) -> None:
    (folder / DIGEST / "files/lib").chmod(0o755)
    (folder / DIGEST / "files/lib/x.py").unlink()


def _add(folder: Path) -> None:
    (folder / DIGEST / "files").chmod(0o755)
    (folder / DIGEST / "files/json.py").write_text("evil")


def _pipe(folder: Path) -> None:
    (folder / DIGEST / "files").chmod(0o755)
    os.mkfifo(folder / DIGEST / "files/pipe")


def _other_entry(folder: Path) -> None:
    path = folder / DIGEST / "entry_point"
    path.chmod(0o644)
    path.write_bytes(b"lib/x.py")


def _binary_entry(folder: Path) -> None:
    path = folder / DIGEST / "entry_point"
    path.chmod(0o644)
    path.write_bytes(b"\xff")


def _hollow(folder: Path) -> None:
    (folder / DIGEST / "entry_point").unlink()


@pytest.mark.parametrize("damage", [_change, _remove, _add, _pipe, _other_entry, _binary_entry, _hollow])
async def test_a_damaged_entry_is_fetched_anew(folder: Path, damage: Callable[[Path], None]) -> None:
    await Cache(folder).put(FILES)
    damage(folder)
    cached = await fetch(DIGEST, "x", Cache(folder), _store({BLOB + DIGEST: bundle.pack(FILES)}))
    assert (
        bundle.digest(bundle.with_entry({p: (cached.path / p).read_bytes() for p in _paths(cached.path)}, "main.py"))
        == DIGEST
    )


async def test_an_entry_that_another_process_took_away(folder: Path) -> None:
    cache = Cache(folder)
    await cache.put(FILES)
    os.utime(folder / DIGEST, (0, 0))
    assert await Cache(folder).clean(3600) == 1
    assert await cache.get(DIGEST) is None
    assert await cache.put(FILES) == await cache.get(DIGEST)


async def test_cleaning(folder: Path) -> None:
    cache = Cache(folder)
    assert await cache.clean(0) == 0
    other = bundle.with_entry({"a.py": b""}, "a.py")
    old, young = await cache.put(FILES), await cache.put(other)
    os.utime(folder / DIGEST, (1, 1))
    for name, age in ((".new-abandoned", 1), (".new-busy", None)):
        (folder / name).mkdir()
        if age is not None:
            os.utime(folder / name, (age, age))
    (folder / "notes.txt").touch()
    os.utime(folder / "notes.txt", (1, 1))
    assert await cache.clean(3600) == 2
    assert not old.path.exists()
    assert young.path.exists()
    assert sorted(os.listdir(folder)) == sorted([young.digest, ".lock", ".new-busy", "notes.txt"])
    assert await cache.get(DIGEST) is None


async def test_use_keeps_an_entry(folder: Path) -> None:
    await Cache(folder).put(FILES)
    os.utime(folder / DIGEST, (1, 1))
    assert await Cache(folder).get(DIGEST) is not None
    assert await Cache(folder).clean(3600) == 0


async def test_a_bundle_that_could_lead_astray(folder: Path) -> None:
    for files in ({"../x": b"", bundle.ENTRY: b"../x"}, {"a": b"", "A": b"", bundle.ENTRY: b"a"}, {"a": b""}):
        with pytest.raises(Invalid):
            await Cache(folder).put(files)
    assert not (folder.parent / "x").exists()


async def test_processes_side_by_side(folder: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, sys
        from pumasi.scripts import bundle
        from pumasi.scripts.cache import Cache
        async def main():
            for n in range(12):
                files = bundle.with_entry({"m.py": b"# %d" % (n % 4)}, "m.py")
                cache = Cache(sys.argv[1])
                cached = await cache.put(files)
                await cache.clean(3600)
                assert (cached.path / "m.py").read_bytes() == files["m.py"]
                assert await Cache(sys.argv[1]).get(bundle.digest(files)) == cached
        asyncio.run(main())
    """)
    running = [subprocess.Popen([sys.executable, "-c", program, str(folder)]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len([name for name in os.listdir(folder) if not name.startswith(".")]) == 4
    assert not [name for name in os.listdir(folder) if name.startswith(".new-")]


async def test_fetching(folder: Path) -> None:
    cache = Cache(folder)
    asked: list[str] = []
    get = _store({BLOB + DIGEST: bundle.pack(FILES)}, asked)
    found = await asyncio.gather(*(fetch(DIGEST, "x", cache, get) for _ in range(8)))
    assert {cached.path for cached in found} == {folder / DIGEST / "files"}
    assert asked == [f"script/{DIGEST}"]


@pytest.mark.parametrize(
    ("blob", "problem"),
    [
        (None, "are no longer in the store; submit it again"),
        (b"junk", "cannot be read"),
        (bundle.pack({"main.py": b"other"}), "are not those that were submitted"),
        (bundle.pack({**FILES, "more.py": b""}), "are not those that were submitted"),
    ],
)
async def test_what_cannot_be_fetched(folder: Path, blob: bytes | None, problem: str) -> None:
    with pytest.raises(FetchFault, match=problem):
        await fetch(DIGEST, "x", Cache(folder), _store({} if blob is None else {BLOB + DIGEST: blob}))
    assert await Cache(folder).get(DIGEST) is None


async def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(FetchFault, match="cannot be kept in the cache"):
        await fetch(DIGEST, "x", Cache(tmp_path / "cache"), _store({BLOB + DIGEST: bundle.pack(FILES)}))


async def test_a_store_that_does_not_answer(folder: Path) -> None:
    async def silent(key: str) -> bytes | None:
        raise Unavailable

    with pytest.raises(Unavailable):
        await fetch(DIGEST, "x", Cache(folder), silent)


def _store(blobs: dict[str, bytes], asked: list[str] | None = None) -> Callable[[str], Awaitable[bytes | None]]:
    async def get(key: str) -> bytes | None:
        if asked is not None:
            asked.append(key)
        await asyncio.sleep(0)
        return blobs.get(key)

    return get


def _paths(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
