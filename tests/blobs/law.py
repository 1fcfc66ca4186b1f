"""What every place must do."""

import os
import threading

import pytest

from pumasi.broker.places.base import Item, Place

MIB = 1024 * 1024
ODD = ["result/a/1", "artifact/a/1/x", "artifact/a/1/x/y", "artifact/a/1/../../x", "artifact/a/1//", "log/a%/1"]
ODD += ["artifact/a/1/품 목.png", "artifact/a/1/tab\there", "artifact/a/1/" + "y" * 250 + ".."]


class Law:
    """The cases; `place` comes from the place's own class."""

    @pytest.mark.parametrize("size", [0, 1, MIB, 12 * MIB + 1])
    def test_what_is_put_is_found(self, place: Place, size: int) -> None:
        data = os.urandom(size)
        place.put("result/a/1", data)
        found = place.find("result/a/1")
        assert found and found.size == size and found.read() == data

    def test_the_last_put_stands(self, place: Place) -> None:
        for data in (b"x" * MIB, b"", b"second"):
            place.put("result/a/1", data)
        assert read(place, "result/a/1") == b"second"
        assert [item.size for item in listed(place)] == [6]

    def test_there_is_none(self, place: Place) -> None:
        assert place.find("result/a/1") is None
        assert listed(place) == []

    def test_names_may_be_odd(self, place: Place) -> None:
        for key in ODD:
            place.put(key, key.encode())
        assert sorted(item.key for item in listed(place)) == sorted(ODD)
        assert all(read(place, key) == key.encode() for key in ODD)

    def test_listing_is_by_prefix_alone(self, place: Place) -> None:
        for key in ("result/a/1", "result/a/12", "result/ab/1", "artifact/a/1/x"):
            place.put(key, b"1")
        assert {item.key for item in listed(place, "result/a/")} == {"result/a/1", "result/a/12"}
        assert {item.key for item in listed(place, "result/a")} == {"result/a/1", "result/a/12", "result/ab/1"}
        assert listed(place, "none/") == []

    def test_what_is_deleted_is_gone(self, place: Place) -> None:
        place.put("result/a/1", b"1")
        place.put("result/a/2", b"2")
        (item,) = listed(place, "result/a/1")
        place.delete(item)
        place.delete(item)
        assert [item.key for item in listed(place)] == ["result/a/2"]
        assert place.find("result/a/1") is None

    def test_what_was_written_since_is_not_deleted(self, place: Place) -> None:
        place.put("result/a/1", b"1")
        (item,) = listed(place)
        place.delete(Item(item.key, item.size, item.at - 3600))
        assert read(place, "result/a/1") == b"1"

    def test_a_reader_sees_one_version_whole(self, place: Place) -> None:
        versions = [bytes([n]) * (MIB + n) for n in range(1, 6)]
        place.put("result/a/1", versions[0])
        writer = threading.Thread(target=lambda: [place.put("result/a/1", version) for version in versions])
        writer.start()
        while writer.is_alive():
            assert read(place, "result/a/1") in versions
        writer.join()
        assert read(place, "result/a/1") == versions[-1]

    def test_a_name_that_is_too_long_is_refused(self, place: Place) -> None:
        from pumasi.errors import Invalid

        place.check()
        with pytest.raises(Invalid, match="too long"):
            place.put("artifact/a/1/" + "y" * 5000, b"1")


def read(place: Place, key: str) -> bytes | None:
    """What lies there."""
    found = place.find(key)
    return found.read() if found else None


def listed(place: Place, prefix: str = "") -> list[Item]:
    """All that lies there."""
    return [item for items in place.items(prefix) for item in items]
