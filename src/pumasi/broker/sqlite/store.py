"""The store: each primitive is one closure over the database, handed to the desk."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pumasi.broker.sqlite import blobs, claims, jobs, keeping, logs, search
from pumasi.broker.sqlite.clock import HostClock
from pumasi.broker.sqlite.desk import Desk
from pumasi.broker.store import Claim, Extended, Inserted, Store, Taken
from pumasi.core.job import Held, Job, KeyLimit, Page, Query, Queue, QueueSettings, Record, State, Worker

#: seconds between two rounds of tidying
TIDY = 60.0


class SqliteStore(Store):
    """A store in one file. May be used from several threads and event loops of a process at once."""

    def __init__(self, path: str, clock: Callable[[], float] | None = None) -> None:
        """A store in the file at `path`, by the clock of this host or, for tests, by another."""
        self.path = os.path.abspath(path)
        self._clock = HostClock() if clock is None else HostClock(clock, clock)
        self._desk = Desk(self.path)
        self._tidied_at = 0.0

    async def open(self) -> None:
        await self._desk.open()

    async def close(self) -> None:
        await self._desk.close()

    async def now(self) -> float:
        return self._clock.now()

    async def insert(self, new: Sequence[Job], max_pending: int) -> Inserted:
        return await self._desk.ask(lambda db: jobs.insert(db, new, max_pending, self._clock.now()))

    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        return await self._desk.ask(lambda db: jobs.adopt(db, entries, self._clock.now()))

    async def load(self, ids: Sequence[str]) -> list[Job | None]:
        return await self._desk.ask(lambda db: jobs.load(db, ids), write=False)

    async def swap(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await self._desk.ask(lambda db: jobs.swap(db, pairs, self._clock.now(), same_lease=True))

    async def settle(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await self._desk.ask(lambda db: jobs.swap(db, pairs, self._clock.now(), same_lease=False))

    async def take(self, claim: Claim) -> Taken:
        return await self._desk.ask(lambda db: claims.take(db, claim, self._clock.now(), calm=self._clock.calm()))

    async def lapsed(self, queues: Sequence[str] | None, limit: int, memory: int | None = None) -> list[Job]:
        now, calm = self._clock.now(), self._clock.calm()
        return await self._desk.ask(lambda db: claims.lapsed(db, queues, limit, memory, now, calm=calm), write=False)

    async def extend(self, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
        return await self._desk.ask(lambda db: claims.extend(db, worker, leases, lease, self._clock.now()))

    async def scan(self, query: Query) -> Page:
        return await self._desk.ask(lambda db: search.scan(db, query), write=False)

    async def append(self, id: str, token: str, records: Sequence[Record]) -> bool:
        return await self._desk.ask(lambda db: logs.append(db, id, token, records))

    async def read(self, id: str, after: int, limit: int) -> list[Record] | None:
        return await self._desk.ask(lambda db: logs.read(db, id, after, limit), write=False)

    async def put_blob(self, key: str, data: bytes) -> None:
        await blobs.put(self._desk, key, data, self._clock.now())

    async def get_blob(self, key: str) -> bytes | None:
        return await blobs.get(self._desk, key)

    async def list_blobs(self, prefix: str) -> dict[str, int]:
        return await self._desk.ask(lambda db: blobs.names(db, prefix), write=False)

    async def purge(self, ended_before: Mapping[State, float], scripts_before: float, workers_before: float) -> int:
        now, gone = self._clock.now(), 0
        for state, before in ended_before.items():
            while n := await self._desk.ask(partial(keeping.forget_jobs, state=state, before=before)):
                gone += n
        strays_before = min(ended_before.values())
        while await self._desk.ask(lambda db: keeping.forget_rest(db, strays_before, scripts_before, workers_before)):
            pass
        while await self._desk.ask(lambda db: blobs.remove_doomed(db, now)):
            pass
        if time.monotonic() >= self._tidied_at + TIDY:
            self._tidied_at = time.monotonic()
            await self._desk.ask(lambda db: keeping.tidy(db, now))
        return gone

    async def acquire(self, limit: KeyLimit, n: int) -> float:
        return await self._desk.ask(lambda db: claims.acquire(db, limit, n, self._clock.now()))

    async def queues(self) -> list[Queue]:
        return await self._desk.ask(lambda db: keeping.queues(db, self._clock.now()), write=False)

    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        await self._desk.ask(lambda db: keeping.set_queue(db, name, settings))

    async def workers(self) -> list[Worker]:
        return await self._desk.ask(keeping.workers, write=False)

    async def counts(self) -> list[tuple[str, str, str, int]]:
        return await self._desk.ask(lambda db: list(db.all("counts")), write=False)

    async def position(self) -> int:
        return await self._desk.ask(lambda db: int(db.value("position")), write=False)
