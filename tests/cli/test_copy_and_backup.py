"""`pumasi copy`, `pumasi backup`, `pumasi restore`."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from pumasi.broker import connect
from pumasi.core.job import Job, Query, State
from pumasi.core.outcome import Completed

Pumasi = Callable[..., tuple[int, str, str]]

#: a process that submits until it is killed, and tells of each job once it is kept
SUBMITTER = """
import asyncio, sys
from pumasi.broker import connect
from pumasi.core.job import Job

async def main():
    async with connect(sys.argv[1]) as broker:
        n = 0
        while True:
            await broker.submit([Job(id=f"s{n:06}", script="s")])
            print(n, flush=True)
            n += 1

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def script(folder: Path) -> None:
    (folder / "scripts" / "hello.py").write_text("def main(): return 1\n")


def jobs(url: str) -> dict[str, int]:
    async def count() -> dict[str, int]:
        async with connect(url) as broker:
            return (await broker.find(Query(limit=1))).totals

    return asyncio.run(count())


def test_copy(pumasi: Pumasi, folder: Path) -> None:
    for _ in range(3):
        pumasi("submit", "hello")
    source, target = ".pumasi/pumasi.db", f"{folder}/other.db"
    code, out, _ = pumasi("copy", f"sqlite:///{source}", f"sqlite:///{target}")
    assert code == 0
    assert out.split() == ["copied", "3"]
    code, out, _ = pumasi("copy", f"sqlite:///{source}", f"sqlite:///{target}", "--json")
    assert json.loads(out) == {"total": 3, "new": 0, "known": 3, "running": 0, "conflicts": [], "begun": []}
    assert jobs(f"sqlite:///{target}") == {"pending": 3}
    assert pumasi("copy", "nonsense", f"sqlite:///{target}")[0] == 2


def test_a_copy_that_was_killed_is_begun_again(folder: Path) -> None:
    source, target = f"sqlite:///{folder}/one.db", f"sqlite:///{folder}/other.db"

    async def fill() -> None:
        async with connect(source) as broker:
            await broker.submit([Job(id=f"j{n:05}", script="s") for n in range(2000)])
            for lease in await broker.claim("w", ["default"], 1000, 1 << 60, 0):
                key = f"result/{lease.id}/1"
                await broker.put_blob(key, lease.id.encode())
                await broker.settle(lease, Completed(result_blob=key, result_size=6))

    async def left() -> int:
        async with connect(target) as broker:
            done = (await broker.find(Query(states=(State.COMPLETED,), limit=1000))).jobs
            assert [await broker.result(job) for job in done] == [job.id for job in done]
        return len(done)

    async def some() -> None:
        async with connect(target) as broker:
            while await broker.position() < 1:
                await broker.hint("changes", timeout=0.01)

    asyncio.run(fill())
    command = [sys.executable, "-m", "pumasi", "copy", source, target, "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as cut_short:
        asyncio.run(some())
        cut_short.kill()
    assert cut_short.returncode == -9
    known = sum(jobs(target).values())
    assert 0 < known < 2000
    asyncio.run(left())
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert json.loads(done.stdout) == {
        "total": 2000, "new": 2000 - known, "known": known, "running": 0, "conflicts": [], "begun": [],
    }  # fmt: skip
    assert asyncio.run(left()) == 1000
    assert jobs(target) == {"pending": 1000, "completed": 1000}


def test_what_was_begun_at_the_source_is_told(pumasi: Pumasi, folder: Path) -> None:
    source, target = f"sqlite:///{folder}/.pumasi/pumasi.db", f"sqlite:///{folder}/other.db"
    id = pumasi("submit", "hello")[1].strip()
    assert pumasi("copy", source, target)[0] == 0
    pumasi("cancel", id)
    code, out, err = pumasi("copy", source, target)
    assert code == 1
    assert "begun at the source" in out
    assert id in err


def test_a_password_is_not_shown(pumasi: Pumasi, folder: Path) -> None:
    for url in ("redis://:hush@127.0.0.1:1/0", "postgresql://u:hush@127.0.0.1:1/x", "amqp://u:hush@x"):
        code, out, err = pumasi("copy", url, f"sqlite:///{folder}/other.db")
        assert code != 0
        assert "hush" not in out + err


def test_back_and_forth(pumasi: Pumasi, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pumasi("submit", "hello")
    code, out, _ = pumasi("backup", "b.db")
    assert (code, out.startswith("b.db: ")) == (0, True)
    assert os.stat("b.db").st_mode & 0o077 == 0
    for _ in range(2):
        pumasi("submit", "hello")
    code, _, err = pumasi("backup", "b.db")
    assert code == 2
    assert "--replace" in err
    code, _, err = pumasi("restore", "b.db")
    assert code == 2
    assert "--yes" in err
    code, out, _ = pumasi("restore", "b.db", "--yes")
    assert code == 0
    assert jobs("sqlite:///.pumasi/pumasi.db") == {"pending": 1}
    assert jobs("sqlite:///.pumasi/pumasi.db.before-restore") == {"pending": 3}
    assert not [name for folder in (".", ".pumasi") for name in os.listdir(folder) if ".part-" in name]
    assert not os.path.exists("b.db-wal")
    (folder / "elsewhere").mkdir()
    monkeypatch.setenv("PUMASI_DATA_DIR", "elsewhere/data")
    code, out, _ = pumasi("restore", "b.db", "--json")
    assert (code, json.loads(out)["before"]) == (0, None)
    assert jobs("sqlite:///elsewhere/data/pumasi.db") == {"pending": 1}


def test_a_backup_is_the_state_of_one_moment_while_others_write(pumasi: Pumasi, folder: Path) -> None:
    url = f"sqlite:///{folder}/.pumasi/pumasi.db"
    pumasi("submit", "hello")
    with subprocess.Popen([sys.executable, "-c", SUBMITTER, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        try:
            for _ in range(30):
                writer.stdout.readline()
            known = int(writer.stdout.readline())
            assert pumasi("backup", "b.db")[0] == 0
        finally:
            writer.kill()
    with apsw.Connection("b.db") as backup:
        kept = [id for (id,) in backup.execute("SELECT id FROM job WHERE id LIKE 's%' ORDER BY id")]
        assert backup.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(kept) > known
    assert kept == [f"s{n:06}" for n in range(len(kept))]


def test_what_was_accepted_while_a_backup_is_restored_is_in_one_file_or_the_other(pumasi: Pumasi, folder: Path) -> None:
    database = f"{folder}/.pumasi/pumasi.db"
    pumasi("submit", "hello")
    pumasi("backup", "b.db")
    with (
        open("known", "w+") as known,
        subprocess.Popen([sys.executable, "-c", SUBMITTER, f"sqlite:///{database}"], stdout=known) as writer,
    ):
        try:
            while os.fstat(known.fileno()).st_size < 100:
                assert writer.poll() is None
            for _ in range(3):
                assert pumasi("restore", "b.db", "--yes")[0] == 0
        finally:
            writer.kill()
    accepted = {f"s{int(n):06}" for n in Path("known").read_text().split("\n")[:-1]}
    files = [database, *(f"{database}.before-restore{n}" for n in ("", ".2", ".3"))]
    assert accepted <= {id for file in files for id in ids(file)}


def ids(file: str) -> set[str]:
    with contextlib.closing(apsw.Connection(file)) as database:
        return {id for (id,) in database.execute("SELECT id FROM job")}


async def test_who_has_the_file_open_sees_the_restored_state_and_works_on(pumasi: Pumasi, folder: Path) -> None:
    async with connect(f"sqlite:///{folder}/.pumasi/pumasi.db") as live:
        await asyncio.to_thread(pumasi, "submit", "hello", "--json")
        assert (await asyncio.to_thread(pumasi, "backup", "b.db"))[0] == 0
        (lease,) = await live.claim("w", ["default"], 1, 1 << 40, 0)
        position = await live.position()
        assert (await asyncio.to_thread(pumasi, "restore", "b.db", "--yes"))[0] == 0
        assert (await live.get(lease.id)).state == "pending"
        assert await live.position() >= position
        (again,) = await live.claim("w2", ["default"], 1, 1 << 40, 0)
        assert again.id == lease.id
        assert again.token != lease.token
        assert again.job.change > position


def test_what_is_no_backup_is_said_so(pumasi: Pumasi, folder: Path) -> None:
    pumasi("submit", "hello")
    (folder / "text.db").write_text("no database")
    with apsw.Connection("theirs.db") as theirs:
        theirs.execute("CREATE TABLE t (a)")
    theirs.close()
    for name, said in (("text.db", "no SQLite database"), ("theirs.db", "another program"), ("none.db", "no file"),
                       (".pumasi/pumasi.db", "itself")):  # fmt: skip
        code, _, err = pumasi("restore", name, "--yes")
        assert code == 2
        assert said in err
    assert jobs("sqlite:///.pumasi/pumasi.db") == {"pending": 1}


def test_the_database_is_never_its_own_backup(pumasi: Pumasi) -> None:
    pumasi("submit", "hello")
    for name in ("pumasi.db", "pumasi.db-wal"):
        code, _, err = pumasi("backup", f".pumasi/{name}", "--replace")
        assert (code, "itself" in err) == (2, True)
    assert jobs("sqlite:///.pumasi/pumasi.db") == {"pending": 1}


@pytest.mark.parametrize(
    ("url", "said"), [("redis://x", "redis-cli"), ("postgresql://x/y", "pg_dump"), ("mongodb://x", "mongodump")]
)
def test_other_brokers_have_their_own_ways(
    pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("PUMASI_BROKER", url)
    code, _, err = pumasi("backup", "b.db")
    assert code == 2
    assert said in err
