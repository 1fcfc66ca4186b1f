"""The verbs that change nothing, written once, over a store and a bell.

Whoever waits listens to the bell *before* it looks, so that no ring falls between looking and waiting, and looks again
by itself when nobody rings.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping

from msgspec.structs import replace

from pumasi.broker.base import LEASE, MAX_PENDING, RETENTION, Broker
from pumasi.broker.bell import Bell
from pumasi.broker.places.base import Place
from pumasi.broker.places.blobs import Blobs, OutsideBlobs
from pumasi.broker.store import Store
from pumasi.core.bounds import MAX_SEQ
from pumasi.core.job import Event, Job, Page, Query, Queue, Record, State, Stats, Worker
from pumasi.errors import Error, Invalid, JobNotFound

#: seconds after which whoever waits for a job looks again although nobody rang; and when no ring can be heard
FALLBACK_POLL = 10.0
DEAF_POLL = 2.0
#: seconds after which a watcher, or a follower of a log, does
WATCH_POLL = 2.0
#: jobs of one page, log records of one read
MAX_PAGE = 1000
MAX_RECORDS = 10_000


class StoreReader(Broker):
    """What can be seen of a store."""

    def __init__(
        self,
        store: Store,
        bell: Bell,
        *,
        url: str,
        lease: float = LEASE,
        max_pending: int = MAX_PENDING,
        retention: float = RETENTION,
        retentions: Mapping[State, float] | None = None,
        chance: Callable[[], float] = random.random,
        place: Place | None = None,
    ) -> None:
        self.store = store
        self.blobs = Blobs(store) if place is None else OutsideBlobs(store, place)
        self.bell = bell
        self.url = url
        self.lease = lease
        self.max_pending = max_pending
        self.retention = retention
        self.retentions = retentions or {}
        self._chance = chance

    async def open(self) -> None:
        await self.blobs.open()
        await self.store.open()
        await self.bell.open()

    async def close(self) -> None:
        await self.bell.close()
        await self.store.close()
        await self.blobs.close()

    @property
    def inlets(self) -> tuple[str, ...]:
        return self.store.inlets

    def concerns(self) -> list[Error]:
        return self.store.concerns()

    async def get(self, id: str) -> Job:
        (job,) = await self.store.load([id])
        if job is None:
            raise JobNotFound(id=id)
        return job

    async def find(self, query: Query) -> Page:
        if query.limit < 1:
            raise Invalid("limit is {limit}; it must be at least 1", limit=query.limit)
        if query.limit > MAX_PAGE:
            query = replace(query, limit=MAX_PAGE)
        return await self.store.scan(query)

    async def wait(self, id: str, timeout: float) -> Job:
        clock = asyncio.get_running_loop().time
        until = clock() + timeout
        with self.bell.listen(f"job:{id}") as heard:
            while True:
                job = await self.get(id)
                left = until - clock()
                if job.ended or left <= 0:
                    return job
                await heard.wait(min(left, self._poll()))

    async def read(self, id: str, after: int = 0, limit: int = 1000) -> list[Record]:
        records = await self.store.read(id, min(max(after, 0), MAX_SEQ), min(max(limit, 1), MAX_RECORDS))
        if records is None:
            raise JobNotFound(id=id)
        return records

    async def follow(self, id: str, after: int = 0) -> AsyncIterator[Record]:
        with self.bell.listen(f"log:{id}", f"job:{id}") as heard:
            while True:
                ended = (await self.get(id)).ended
                records = await self.read(id, after)
                for record in records:
                    after = record.seq
                    yield record
                if not records:
                    if ended:
                        return
                    await heard.wait(WATCH_POLL)

    async def get_blob(self, key: str) -> bytes | None:
        return await self.blobs.get(key)

    async def list_blobs(self, prefix: str) -> dict[str, int]:
        return await self.blobs.names(prefix)

    async def queues(self) -> list[Queue]:
        return await self.store.queues()

    async def workers(self) -> list[Worker]:
        now = await self.store.now()
        return [
            replace(worker, status="lost") if worker.seen_at < now - 2 * self.lease else worker
            for worker in await self.store.workers()
        ]

    async def stats(self) -> Stats:
        return Stats(
            jobs=tuple(await self.store.counts()),
            queues=tuple(await self.store.queues()),
            workers=tuple(await self.workers()),
        )

    async def now(self) -> float:
        return await self.store.now()

    def _poll(self) -> float:
        return FALLBACK_POLL if self.bell.alive else DEAF_POLL

    # -- hints ----------------------------------------------------------------------------------------------------

    async def hint(self, *topics: str, timeout: float) -> bool:
        with self.bell.listen(*topics) as heard:
            if self.bell.alive:
                return await heard.wait(timeout)
            return await heard.wait(min(timeout, DEAF_POLL)) or timeout > DEAF_POLL  # who cannot hear looks again

    async def watch(self, query: Query, after: int | None = None) -> AsyncIterator[Event]:
        position = await self.position() if after is None else after
        with self.bell.listen("changes") as heard:
            while True:
                page = await self.find(replace(query, changed_after=position, cursor=None, limit=200))
                for job in page.jobs:
                    position = max(position, job.change)
                    yield Event(job.change, job)
                if not page.jobs:
                    await heard.wait(WATCH_POLL)

    async def position(self) -> int:
        return await self.store.position()
