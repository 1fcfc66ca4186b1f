"""The thread that owns the connection: many callers, one transaction, nobody harmed by another."""

import asyncio
import threading
from pathlib import Path

import apsw
import pytest

from pumasi.broker.sqlite import SqliteStore
from pumasi.broker.sqlite.database import Database
from pumasi.broker.sqlite.desk import Desk
from pumasi.errors import Invalid, Unavailable
from tests.broker.conformance.base import a_job


@pytest.fixture
async def desk(tmp_path: Path):
    desk = Desk(str(tmp_path / "pumasi.db"))
    await desk.open()
    yield desk
    await desk.close()


def pause(db: Database, name: str) -> None:
    db.run("put_settings", name=name, paused=True, max_pending=None, ageing=None, fair=False)


def paused(db: Database) -> list[str]:
    return [name for name, *_ in db.all("settings")]


async def held(desk: Desk, *steps: object) -> list[object]:
    """The answers to steps that all came in while the thread was busy: so they share a transaction."""
    busy, go = threading.Event(), threading.Event()

    def block(_: Database) -> None:
        busy.set()
        go.wait(10)

    blocking = asyncio.ensure_future(desk.ask(block))
    await asyncio.to_thread(busy.wait, 10)
    asked = [asyncio.ensure_future(desk.ask(step)) for step in steps]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    go.set()
    await blocking
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_what_waits_together_is_written_together(desk: Desk) -> None:
    commits = []
    await desk.ask(lambda db: db.connection.set_commit_hook(lambda: bool(commits.append(1))))
    commits.clear()
    await held(desk, *(lambda db, n=n: pause(db, f"q{n}") for n in range(50)))
    assert len(commits) == 2  # the first is that of the step that kept the thread busy
    assert len(await desk.ask(paused)) == 50


async def test_one_that_fails_harms_no_other(desk: Desk) -> None:
    def fails(db: Database) -> None:
        pause(db, "never")
        raise KeyError("a bug")

    def refused(db: Database) -> None:
        pause(db, "never")
        raise Invalid("no")

    def misspelt(db: Database) -> None:
        pause(db, "never")
        db.connection.execute("SELECT nonsense")

    answers = await held(desk, lambda db: pause(db, "a"), fails, refused, misspelt, lambda db: pause(db, "b"))
    assert [type(answer) for answer in answers] == [type(None), KeyError, Invalid, Unavailable, type(None)]
    assert await desk.ask(paused) == ["a", "b"]


async def test_a_step_that_was_given_up_is_not_begun(desk: Desk) -> None:
    busy, go = threading.Event(), threading.Event()

    def block(_: Database) -> None:
        busy.set()
        go.wait(10)

    blocking = asyncio.ensure_future(desk.ask(block))
    await asyncio.to_thread(busy.wait, 10)
    given_up = asyncio.ensure_future(desk.ask(lambda db: pause(db, "a")))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    go.set()
    await blocking
    assert await desk.ask(paused) == []


async def test_callers_on_several_event_loops(desk: Desk) -> None:
    def another() -> list[None]:
        async def work() -> list[None]:
            return await asyncio.gather(*(desk.ask(lambda db, n=n: pause(db, f"t{n}")) for n in range(20)))

        return asyncio.run(work())

    here = asyncio.gather(*(desk.ask(lambda db, n=n: pause(db, f"h{n}")) for n in range(20)))
    await asyncio.gather(asyncio.to_thread(another), asyncio.to_thread(another), here)
    assert len(await desk.ask(paused)) == 40


async def test_a_caller_whose_loop_is_gone_is_no_trouble(desk: Desk) -> None:
    def gone() -> None:
        loop = asyncio.new_event_loop()

        async def ask() -> None:
            asking = asyncio.ensure_future(desk.ask(lambda db: pause(db, "a")))
            await asyncio.sleep(0)
            asking.cancel()

        loop.run_until_complete(ask())
        loop.close()

    await asyncio.to_thread(gone)
    await desk.ask(lambda db: pause(db, "b"))
    assert "b" in await desk.ask(paused)


async def test_closed(tmp_path: Path) -> None:
    desk = Desk(str(tmp_path / "pumasi.db"))
    with pytest.raises(Unavailable, match="not open"):
        await desk.ask(paused)
    await desk.close()
    await desk.open()
    await desk.open()
    waiting = [asyncio.ensure_future(desk.ask(lambda db, n=n: pause(db, f"q{n}"))) for n in range(5)]
    await asyncio.sleep(0)
    await desk.close()
    await asyncio.gather(*waiting)  # what was handed in is done
    await desk.close()
    with pytest.raises(Unavailable, match="not open"):
        await desk.ask(paused)
    await desk.open()
    assert len(await desk.ask(paused)) == 5
    await desk.close()


async def test_no_thread_is_left(tmp_path: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        desk = Desk(str(tmp_path / "pumasi.db"))
        await desk.open()
        await desk.close()
    with pytest.raises(Invalid):
        await Desk(str(tmp_path)).open()
    assert threading.active_count() == before


async def test_a_file_that_is_removed_is_not_written_to(desk: Desk, tmp_path: Path) -> None:
    await desk.ask(lambda db: pause(db, "a"))
    (tmp_path / "pumasi.db").unlink()
    with pytest.raises(Unavailable, match="moved or removed"):
        await desk.ask(lambda db: pause(db, "b"))
    await desk.ask(lambda db: pause(db, "c"))  # it has begun anew
    assert await desk.ask(paused) == ["c"]


async def test_a_lock_of_another_process_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    other = apsw.Connection(str(tmp_path / "pumasi.db"))
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(desk.ask(lambda db: pause(db, "a")))
    done, _ = await asyncio.wait([writing], timeout=0.05)
    assert not done
    other.execute("COMMIT")
    await writing
    other.close()


async def test_one_that_is_never_let_go_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumasi.broker.sqlite.database.BUSY", 0.05)
    store = SqliteStore(str(tmp_path / "pumasi.db"))
    await store.open()
    other = apsw.Connection(str(tmp_path / "pumasi.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked by another process"):
        await store.insert([a_job("a")], 10)
    assert await store.load(["a"]) == [None]  # reading needs no lock
    other.execute("ROLLBACK")
    other.close()
    await store.insert([a_job("a")], 10)
    await store.close()


async def test_numbers_and_texts_no_database_can_hold(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "pumasi.db"))
    await store.open()
    await store.insert([a_job("a")], 10)
    with pytest.raises(Invalid):
        await store.read("\udcff", 0, 10)
    with pytest.raises(Invalid):
        await store.read("a", 2**80, 10)
    await store.close()
