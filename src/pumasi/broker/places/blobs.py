"""Where a broker keeps blobs: all in its store, or those of jobs in a place outside it.

What is not found outside is looked for in the store, so that a place may be chosen when jobs are kept already.
"""

from pumasi.broker.places.base import Place
from pumasi.broker.places.keeping import MARK, Keeper
from pumasi.broker.places.keys import is_of_job
from pumasi.broker.places.outside import Outside
from pumasi.broker.store import Store


class Blobs:
    """All in the store, which forgets by itself what no job needs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """See that they can be kept. Raises: Unavailable, Invalid."""

    async def close(self) -> None:
        """Let go; safe to repeat."""

    async def put(self, key: str, data: bytes) -> None:
        """As `Broker.put_blob`."""
        await self._store.put_blob(key, data)

    async def get(self, key: str) -> bytes | None:
        """As `Broker.get_blob`."""
        return await self._store.get_blob(key)

    async def names(self, prefix: str) -> dict[str, int]:
        """As `Broker.list_blobs`."""
        return await self._store.list_blobs(prefix)

    async def renew(self, now: float) -> None:
        """What is to be done before the store is purged."""

    async def collect(self, now: float, before: float) -> None:
        """What is to be done after: forget blobs of no job that were last written before."""


class OutsideBlobs(Blobs):
    """Those of jobs in a place, the others in the store."""

    def __init__(self, store: Store, place: Place) -> None:
        super().__init__(store)
        self._outside = Outside(place)
        self._keeper = Keeper(store, self._outside)

    async def open(self) -> None:
        await self._outside.check()

    async def close(self) -> None:
        await self._outside.close()

    async def put(self, key: str, data: bytes) -> None:
        if is_of_job(key):
            await self._outside.put(key, data)
        else:
            await super().put(key, data)

    async def get(self, key: str) -> bytes | None:
        data = await self._outside.get(key) if is_of_job(key) else None
        return await super().get(key) if data is None else data

    async def names(self, prefix: str) -> dict[str, int]:
        inside = await super().names(prefix)
        found = {key: size for key, size in inside.items() if not key.startswith(MARK)}
        async for items in self._outside.items(prefix):
            found |= {item.key: item.size for item in items if is_of_job(item.key)}
        return dict(sorted(found.items()))

    async def renew(self, now: float) -> None:
        await self._keeper.renew(now)

    async def collect(self, now: float, before: float) -> None:
        await self._keeper.collect(now, before)
