"""A place by whose clock things are as old as a test says."""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from pumasi.broker.places.base import Found, Item, Place


class TurnedPlace(Place):
    """A place, but the times of what lies there are those of a clock turned by hand."""

    def __init__(self, inner: Place, clock: Callable[[], float], written: dict[str, float]) -> None:
        self.name = inner.name
        self.inner = inner
        self.clock = clock
        self.written = written
        #: listings begun
        self.listed: list[str] = []

    def check(self) -> None:
        self.inner.check()

    def put(self, key: str, data: bytes) -> None:
        self.inner.put(key, data)
        self.written[key] = self.clock()

    def find(self, key: str) -> Found | None:
        return self.inner.find(key)

    def items(self, prefix: str) -> Iterator[list[Item]]:
        self.listed.append(prefix)
        for items in self.inner.items(prefix):
            yield [replace(item, at=self.written.get(item.key, self.clock())) for item in items]

    def delete(self, item: Item) -> None:
        for items in self.inner.items(item.key):
            for now in items:
                if now.key == item.key and self.written[item.key] == item.at:
                    self.inner.delete(now)
