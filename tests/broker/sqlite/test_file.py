"""What a database file may be, and what is said of one that cannot be used."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw
import msgspec
import pytest

from pumasi.broker import connect
from pumasi.broker.sqlite import SqliteStore
from pumasi.broker.sqlite.database import MIGRATIONS
from pumasi.core.job import Job, Query, QueueSettings
from pumasi.errors import Invalid, Unavailable
from tests.broker.conformance.base import a_job, ended, submitted


async def refused(path: Path | str) -> str:
    """What is said when that file is opened; a second try says the same."""
    said = []
    for _ in range(2):
        with pytest.raises(Invalid) as error:
            await SqliteStore(str(path)).open()
        said.append(str(error.value))
    assert said[0] == said[1]
    assert str(path).split("/")[-1] in said[0]
    return said[0]


async def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    async with connect(f"sqlite:///{tmp_path}/new/pumasi.db") as broker:
        await submitted(broker)
    assert (tmp_path / "new/pumasi.db").exists()


async def test_a_longer_way_that_is_missing_is_out_of_reach(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        await SqliteStore(str(tmp_path / "not" / "mounted" / "pumasi.db")).open()
    assert list(tmp_path.iterdir()) == []


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Parameters may be private."""
    async with connect(f"sqlite:///{tmp_path}/pumasi.db") as broker:
        await submitted(broker)
        for name in ("pumasi.db", "pumasi.db-wal"):
            assert (tmp_path / name).stat().st_mode & 0o077 == 0


async def test_a_clean_end_leaves_one_file(tmp_path: Path) -> None:
    async with connect(f"sqlite:///{tmp_path}/pumasi.db") as broker:
        await submitted(broker, "a")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["pumasi.db"]
    assert list((tmp_path / "pumasi.db.bell").iterdir()) == []
    async with connect(f"sqlite:///{tmp_path}/pumasi.db") as broker:
        assert (await broker.get("a")).id == "a"


@pytest.mark.parametrize("name", ["with space.db", "품앗이.db", "100%25.db", "a#b.db", "x" * 200])
async def test_odd_names(tmp_path: Path, name: str) -> None:
    async with connect(f"sqlite:///{tmp_path}/{name}") as broker:
        await submitted(broker, "a")
    assert (tmp_path / name.replace("%25", "%")).exists()


async def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    broker = connect("sqlite:///pumasi.db")
    monkeypatch.chdir("/")
    async with broker:
        await submitted(broker)
    assert (tmp_path / "pumasi.db").exists()


async def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in await refused(tmp_path)


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Invalid, match="cannot be made"):
        await SqliteStore(str(tmp_path / "file" / "pumasi.db")).open()


async def test_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("dear diary, " * 1000)
    assert "no SQLite database" in await refused(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text().startswith("dear diary")


async def test_a_database_of_another_program(tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "other.db"))
    other.execute("CREATE TABLE bookmarks (url)")
    other.close()
    assert "another program" in await refused(tmp_path / "other.db")


async def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "pumasi.db").touch()
    async with connect(f"sqlite:///{tmp_path}/pumasi.db") as broker:
        await submitted(broker)


async def test_a_newer_schema(tmp_path: Path) -> None:
    path = str(tmp_path / "pumasi.db")
    async with connect(f"sqlite:///{path}") as broker:
        await submitted(broker)
    newer = apsw.Connection(path)
    newer.pragma("user_version", len(MIGRATIONS) + 1)
    newer.close()
    assert "newer Pumasi" in await refused(path)


async def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    """Its first page is whole, so it opens; the damage is met later."""
    path = tmp_path / "pumasi.db"
    async with connect(f"sqlite:///{path}") as broker:
        await broker.submit([a_job() for _ in range(200)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))
    broker = connect(f"sqlite:///{path}")
    with pytest.raises((Invalid, Unavailable), match="damaged"):
        async with broker:
            await broker.find(Query())


async def test_damage_is_found_at_the_start_after_an_unclean_end(tmp_path: Path) -> None:
    path = tmp_path / "pumasi.db"
    async with connect(f"sqlite:///{path}") as broker:
        await broker.submit([a_job() for _ in range(200)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    Path(f"{path}-wal").write_bytes(b"\0" * 32)
    assert "damaged" in await refused(path)


AS_NOBODY = """
import asyncio, os, sys
from pumasi.broker import connect
from pumasi.core.job import Job
from pumasi.errors import Error

async def main():
    async with connect(f"sqlite:///{sys.argv[1]}") as broker:
        await broker.submit([Job(id="a", script="s")])

if os.getuid() == 0:
    # what would be imported later is imported now: the interpreter's own files may be out of reach then
    asyncio.run(asyncio.sleep(0))
    import pumasi.broker.sqlite
    str(Error("{path}", path="x"))
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    asyncio.run(main())
except Error as error:
    print(type(error).__name__, error)
else:
    print("done")
"""


def as_nobody(path: str) -> str:
    """What a process without rights says when it submits to that file."""
    env = os.environ | {"PUMASI_LANG": "en"}
    run = subprocess.run([sys.executable, "-c", AS_NOBODY, path], capture_output=True, text=True, env=env, check=False)
    assert run.stderr == ""
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("folder", "file", "said"),
    [
        (0o777, 0o666, "done"),
        (0o777, 0o444, "Invalid"),
        (0o777, 0o000, "Invalid"),
        (0o555, 0o666, "Invalid"),
        (0o555, 0o444, "Invalid"),
        (0o555, None, "Invalid"),
        (0o000, 0o666, "Invalid"),
    ],
    ids=lambda value: oct(value) if isinstance(value, int) else str(value),
)
async def test_rights(folder: int, file: int | None, said: str) -> None:
    with tempfile.TemporaryDirectory() as outer:
        os.chmod(outer, 0o755)
        place = Path(outer, "place")
        place.mkdir()
        path = place / "pumasi.db"
        if file is not None:
            async with connect(f"sqlite:///{path}") as broker:
                await submitted(broker)
            path.chmod(file)
            (place / "pumasi.db.bell").chmod(0o777)
        place.chmod(folder)
        answer = as_nobody(str(path))
        place.chmod(0o700)
    assert answer.startswith(said), answer
    if said == "Invalid":
        assert "writ" in answer or "open" in answer or "made" in answer


async def test_a_full_disk(tmp_path: Path) -> None:
    """What there is stays whole and readable, and it goes on once there is room."""
    store = SqliteStore(str(tmp_path / "pumasi.db"))
    await store.open()
    await store.insert([a_job("a")], 10)
    used = await store._desk.ask(lambda db: db.connection.pragma("page_count"))
    await store._desk.ask(lambda db: db.connection.pragma("max_page_count", used + 2))
    with pytest.raises(Unavailable, match="no room"):
        await store.put_blob("result/a/1", b"x" * 1_000_000)
    with pytest.raises(Unavailable, match="no room"):
        await store.insert([a_job(f"b{n}") for n in range(500)], 1000)
    (job,) = await store.load(["a"])
    assert job is not None
    assert await store.load(["b0"]) == [None]
    await store._desk.ask(lambda db: db.connection.pragma("max_page_count", 1_000_000))
    await store.put_blob("result/a/1", b"x" * 1_000_000)
    assert await store.get_blob("result/a/1") == b"x" * 1_000_000
    await store.close()


FILLING = """
import asyncio, resource, sys
from pumasi.broker import connect
from pumasi.core.job import Job
from pumasi.errors import Unavailable

async def main():
    kept, refused = [], 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    async with connect(f"sqlite:///{sys.argv[1]}") as broker:
        for n in range(400):
            try:
                await broker.submit([Job(id=f"j{n}", script="s", parameters='{"x":"' + "y" * 5000 + '"}')])
                kept.append(f"j{n}")
            except Unavailable as error:
                refused += 1
    print(len(kept), refused)

asyncio.run(main())
"""


async def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """Writes that the system refuses are refused to the submitter; what was accepted is kept."""
    path = str(tmp_path / "pumasi.db")
    run = subprocess.run([sys.executable, "-c", FILLING, path], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    kept, refusals = map(int, run.stdout.split())
    assert kept > 0
    assert refusals > 0
    async with connect(f"sqlite:///{path}") as broker:
        stored = [job.id for job in (await broker.find(Query(limit=1000))).jobs]
        assert len(stored) == kept
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY or kept


async def test_everything_survives_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pumasi.db"
    async with connect(url) as broker:
        job: Job = await ended(broker, "a", labels={"x": "y"})
        await broker.put_blob("result/a/1", b"1")
        before = await broker.stats()
    async with connect(url) as broker:
        assert await broker.get("a") == job
        assert await broker.get_blob("result/a/1") == b"1"
        assert (await broker.find(Query(labels={"x": "y"}))).jobs == (job,)
        assert await broker.stats() == before


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its jobs, lanes and settings are there, and what is new works on them."""
    path = tmp_path / "pumasi.db"
    with apsw.Connection(str(path)) as old:
        old.pragma("application_id", 0x50554D41)
        old.execute(MIGRATIONS[0]).fetchall()
        old.pragma("user_version", 1)
        for seq, state in ((1, "pending"), (2, "pending"), (3, "failed")):
            job = Job(id=f"j{seq}", script="s", priority=seq, created_at=1.0, run_at=1.0)
            lane, ended_at = (seq, None) if state == "pending" else (None, 2.0)
            old.execute(
                "INSERT INTO job (seq, id, state, queue, script, memory, created_at, run_at, ended_at, cause, lane,"
                " attempt, cancel_requested, revision, change) VALUES (?,?,?,'default','s',0,1,1,?,'',?,0,0,1,?)",
                (seq, job.id, state, ended_at, lane, seq),
            )
            old.execute("INSERT INTO body VALUES (?, ?)", (seq, msgspec.json.encode(job)))
            if lane:
                old.execute(
                    "INSERT INTO lane VALUES (?, 'default', ?, 0, '', NULL, 1.0, ?, 1, NULL)", (lane, seq, job.id)
                )
        old.execute("INSERT INTO queue VALUES ('default', 0, 7)")
        old.execute("UPDATE counter SET change = 3")
    old.close()
    async with connect(f"sqlite:///{path}?retention=1e9") as broker:
        queue = await broker.set_queue("default", QueueSettings(fair=True))
        assert (queue.max_pending, queue.pending) == (7, 2)
        assert [job.id for job in (await broker.find(Query(dead=True))).jobs] == ["j3"]
        await submitted(broker, "new", share="a", priority=2)
        leases = await broker.claim("w", ["default"], 9, 1 << 40, 0)
        assert [lease.id for lease in leases] == ["j2", "new", "j1"]
    with apsw.Connection(str(path)) as now:
        assert now.pragma("user_version") == len(MIGRATIONS)
