"""What no job needs any more goes from a place, and nothing else does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.places.base import Item, Place
from pumasi.broker.places.folder import FolderPlace
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import Job, State
from pumasi.errors import Unavailable
from tests.blobs.turned import TurnedPlace
from tests.broker.conformance.base import Clock, ended, leased, submitted

HOUR = 3600.0
DAY = 24 * HOUR

Handle = Callable[..., StoreBroker]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(clock: Clock, tmp_path: Path) -> TurnedPlace:
    return TurnedPlace(FolderPlace(str(tmp_path / "blobs")), clock, {})


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def handle(store: MemoryStore, place: Place) -> Handle:
    """A process's view of the store and the place."""
    return lambda **settings: StoreBroker(store, Bell(), url="memory://", **{"place": place, **settings})


async def kept(broker: StoreBroker, *ids: str) -> None:
    """Blobs of jobs, of each kind."""
    for id in ids:
        for key in (f"result/{id}/1", f"artifact/{id}/1/x", f"log/{id}/1"):
            await broker.put_blob(key, b"1")


def jobs(place: TurnedPlace) -> set[str]:
    """The jobs that have blobs in the place."""
    keys = [item.key for items in place.inner.items("") for item in items]
    return {key.split("/")[1] for key in keys if not key.startswith("pumasi/")}


async def test_what_a_job_left_goes_after_it(handle: Handle, place: TurnedPlace, clock: Clock) -> None:
    async with handle() as broker:
        await ended(broker, "gone")
        await kept(broker, "gone", "stray", "runs", "waits", "ended")
        await leased(broker, "runs")
        await submitted(broker, "waits", run_at=clock.now + 9 * DAY)
        clock.advance(12 * HOUR)
        await ended(broker, "ended", queue="other")
        await kept(broker, "fresh-stray")
        clock.advance(12 * HOUR + 1)
        await broker.sweep()
        assert jobs(place) == {"runs", "waits", "ended", "fresh-stray"}


async def test_the_earliest_retention_counts_and_never_less_than_an_hour(
    handle: Handle, place: TurnedPlace, clock: Clock
) -> None:
    async with handle(retention=9 * DAY, retentions={State.COMPLETED: 0.0}) as broker:
        await ended(broker, "gone")
        await kept(broker, "gone")
        clock.advance(HOUR - 1)
        await broker.sweep()
        assert jobs(place) == {"gone"}
        clock.advance(HOUR)
        await broker.sweep()
        assert jobs(place) == set()


async def test_at_most_once_an_hour_whoever_asks(handle: Handle, place: TurnedPlace, clock: Clock) -> None:
    async with handle() as one, handle() as other:
        for _ in range(3):
            await one.sweep()
            await other.sweep()
        assert place.listed.count("") == 1
        clock.advance(HOUR)
        await other.sweep()
        await one.sweep()
        assert place.listed.count("") == 2


async def test_only_when_something_is_to_be_forgotten(handle: Handle, place: TurnedPlace) -> None:
    async with handle() as broker:
        await broker.sweep(forget=False)
        assert place.listed == [] and place.written == {}


async def test_another_brokers_blobs_are_left_alone(
    handle: Handle, place: TurnedPlace, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    strangers = StoreBroker(MemoryStore(clock), Bell(), url="memory://", place=place, retention=HOUR)
    async with handle() as broker, strangers:
        await submitted(broker, "ours", run_at=clock.now + 9 * DAY)
        await broker.sweep()
        await kept(broker, "ours", "stray")
        clock.advance(23 * HOUR)
        await strangers.sweep()
        assert place.name in capsys.readouterr().err
        assert jobs(place) == {"ours", "stray"}
        clock.advance(2 * HOUR)
        await broker.sweep()
        assert jobs(place) == {"ours"}


async def test_a_store_remembers_what_it_owns_however_long_nobody_swept(
    handle: Handle, store: MemoryStore, place: TurnedPlace, clock: Clock
) -> None:
    async with handle() as broker:
        await broker.sweep()
    clock.advance(30 * DAY)
    async with handle() as broker:
        await kept(broker, "stray")
        await broker.sweep()
        clock.advance(26 * HOUR)
        await broker.sweep()
        assert jobs(place) == set()


async def test_the_mark_of_an_owner_is_no_bundle(handle: Handle, store: MemoryStore) -> None:
    async with handle() as broker:
        await broker.sweep()
        assert len(await store.list_blobs("script/")) == 1
        assert await broker.list_blobs("") == {}


async def test_a_place_that_is_away_keeps_no_records(
    handle: Handle, place: TurnedPlace, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with handle() as broker:
        await ended(broker, "gone")
        await kept(broker, "gone")
        clock.advance(DAY + 1)

        def away(*_: Any) -> Any:
            raise Unavailable("away")

        with monkeypatch.context() as patch:
            patch.setattr(place, "find", away)
            await broker.sweep()
        assert await broker.store.load(["gone"]) == [None]
        assert jobs(place) == {"gone"}
        await broker.sweep()
        assert jobs(place) == set()


async def test_a_job_that_comes_back_under_its_old_name_keeps_its_blobs(
    handle: Handle, store: MemoryStore, place: TurnedPlace, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blob is written anew between the look at the store and the removal."""
    async with handle() as broker:
        await ended(broker, "a")
        await kept(broker, "a")
        clock.advance(DAY + 1)
        load = store.load

        async def meanwhile(ids: list[str]) -> list[Job | None]:
            found = await load(ids)
            if ids == ["a"] and found == [None]:
                await leased(broker, "a")
                await broker.put_blob("result/a/1", b"new")
            return found

        monkeypatch.setattr(store, "load", meanwhile)
        await broker.sweep()
        assert await broker.get_blob("result/a/1") == b"new"
        assert await broker.list_blobs("artifact/a/") == {}


async def test_many_go_in_batches(handle: Handle, place: TurnedPlace, clock: Clock) -> None:
    class Stepwise(TurnedPlace):
        def items(self, prefix: str) -> Iterator[list[Item]]:
            for items in super().items(prefix):
                yield from (items[at : at + 250] for at in range(0, len(items), 250))

    place = Stepwise(place.inner, clock, place.written)
    async with handle(place=place) as broker:
        await submitted(broker, "j7", run_at=clock.now + 9 * DAY)
        for n in range(300):
            await broker.put_blob(f"result/j{n}/1", b"1")
        clock.advance(DAY + 1)
        await broker.sweep()
        assert jobs(place) == {"j7"}
