"""A place that hangs holds nobody up; and what is where."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pumasi.broker.bell import Bell
from pumasi.broker.memory import MemoryStore
from pumasi.broker.places import outside
from pumasi.broker.places.base import Found, Item, Place
from pumasi.broker.places.folder import FolderPlace
from pumasi.broker.places.outside import Outside
from pumasi.broker.verbs import StoreBroker
from pumasi.errors import Unavailable


class HungPlace(Place):
    """One that answers nothing until it is let go."""

    name = "file:///hung"

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def check(self) -> None:
        self.let_go.wait()

    def put(self, key: str, data: bytes) -> None:
        self.let_go.wait()

    def find(self, key: str) -> Found | None:
        self.let_go.wait()
        return None

    def items(self, prefix: str) -> Iterator[list[Item]]:
        self.let_go.wait()
        yield []

    def delete(self, item: Item) -> None:
        self.let_go.wait()


async def test_nobody_waits_for_a_place_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "DEADLINE", 0.01)
    place = HungPlace()
    hung = Outside(place)
    try:
        for call in (hung.check(), hung.put("result/a/1", b""), hung.get("result/a/1"), anext(hung.items("")),
                     *(hung.get("result/a/1") for _ in range(2 * outside.TOGETHER))):  # fmt: skip
            with pytest.raises(Unavailable, match=r"file:///hung has not answered"):
                await call
        await hung.close()
        await hung.close()
    finally:
        place.let_go.set()


async def test_bundles_stay_in_the_store(tmp_path: Path) -> None:
    store, place = MemoryStore(), FolderPlace(str(tmp_path / "blobs"))
    async with StoreBroker(store, Bell(), url="memory://", place=place) as broker:
        for key in ("script/d", "result/a/1", "artifact/a/1/x", "log/a/1"):
            await broker.put_blob(key, key.encode())
        assert await store.list_blobs("") == {"script/d": 8}
        assert set(await broker.list_blobs("")) == {"script/d", "result/a/1", "artifact/a/1/x", "log/a/1"}
        assert await broker.get_blob("script/d") == b"script/d"


async def test_a_place_may_be_chosen_when_jobs_are_kept_already(tmp_path: Path) -> None:
    store, place = MemoryStore(), FolderPlace(str(tmp_path / "blobs"))
    await store.put_blob("result/a/1", b"inside")
    await store.put_blob("result/a/2", b"inside")
    async with StoreBroker(store, Bell(), url="memory://", place=place) as broker:
        await broker.put_blob("result/a/2", b"")
        assert await broker.get_blob("result/a/1") == b"inside"
        assert await broker.get_blob("result/a/2") == b""
        assert await broker.get_blob("result/a/3") is None
        assert await broker.list_blobs("result/a/") == {"result/a/1": 6, "result/a/2": 0}
