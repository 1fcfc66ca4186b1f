"""The store: each primitive is one statement, handed to the pool."""

from collections.abc import Callable, Mapping, Sequence

from pumasi.broker.clock import ServerClock
from pumasi.broker.postgres import blobs, claims, gate, jobs, keeping, logs, search
from pumasi.broker.postgres.connection import concerns
from pumasi.broker.postgres.pool import Pool
from pumasi.broker.postgres.queries import Queries
from pumasi.broker.postgres.schema import prepare
from pumasi.broker.postgres.target import Target
from pumasi.broker.store import Claim, Extended, Inserted, Store, Taken
from pumasi.core.job import Held, Job, KeyLimit, Page, Query, Queue, QueueSettings, Record, State, Worker
from pumasi.errors import Error

#: seconds between two rounds of tidying
TIDY = 60.0


class PostgresStore(Store):
    """A store in a schema of a database. May be used from several threads and event loops of a process at once."""

    def __init__(self, target: Target, clock: Callable[[], float] | None = None) -> None:
        """A store by the clock of the server or, for tests, by another."""
        self.target = target
        self._clock = ServerClock(clock)
        self._queries = Queries(target.schema)
        self.pool = Pool(target, self._queries, self._clock)
        self._tidied_at = float("-inf")

    async def open(self) -> None:
        self.pool.open()
        try:
            async with self.pool.connection() as connection:
                if self.pool.hello is not None and self.pool.hello.read_only:
                    raise gate.read_only(self.target)
                await prepare(connection, self._queries, self.target)
        except BaseException:
            self.pool.close()
            raise

    async def close(self) -> None:
        self.pool.close()

    def concerns(self) -> list[Error]:
        return [] if self.pool.hello is None else concerns(self.pool.hello, self.target)

    async def now(self) -> float:
        return self._clock.now()

    async def insert(self, new: Sequence[Job], max_pending: int) -> Inserted:
        inserted, now = await jobs.insert(self.pool, new, max_pending, self._turned)
        self._heard(now)
        return inserted

    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        return await jobs.adopt(self.pool, entries)

    async def load(self, ids: Sequence[str]) -> list[Job | None]:
        return await jobs.load(self.pool, ids)

    async def swap(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await jobs.swap(self.pool, pairs, same_lease=True)

    async def settle(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await jobs.swap(self.pool, pairs, same_lease=False)

    async def take(self, claim: Claim) -> Taken:
        taken = await claims.take(self.pool, claim, self._turned, calm=self._clock.calm())
        self._heard(taken.now)
        return taken

    async def lapsed(self, queues: Sequence[str] | None, limit: int, memory: int | None = None) -> list[Job]:
        return await claims.lapsed(self.pool, queues, limit, memory, self._turned, calm=self._clock.calm())

    async def extend(self, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
        extended, now = await claims.extend(self.pool, worker, leases, lease, self._turned, self._clock.now())
        self._heard(now)
        return extended

    async def scan(self, query: Query) -> Page:
        return await search.scan(self.pool, query)

    async def append(self, id: str, token: str, records: Sequence[Record]) -> bool:
        return await logs.append(self.pool, id, token, records)

    async def read(self, id: str, after: int, limit: int) -> list[Record] | None:
        return await logs.read(self.pool, id, after, limit)

    async def put_blob(self, key: str, data: bytes) -> None:
        await blobs.put(self.pool, key, data, self._turned)

    async def get_blob(self, key: str) -> bytes | None:
        return await blobs.get(self.pool, key)

    async def list_blobs(self, prefix: str) -> dict[str, int]:
        return await blobs.names(self.pool, prefix)

    async def purge(self, ended_before: Mapping[State, float], scripts_before: float, workers_before: float) -> int:
        gone = await keeping.forget_jobs(self.pool, ended_before, workers_before)
        if (now := self._clock.now()) >= self._tidied_at + TIDY or gone:
            self._tidied_at = now
            await keeping.tidy(self.pool, min(ended_before.values()), scripts_before, self._turned)
        return gone

    async def acquire(self, limit: KeyLimit, n: int) -> float:
        return await claims.acquire(self.pool, limit, n, self._turned)

    async def queues(self) -> list[Queue]:
        return await keeping.queues(self.pool, self._turned)

    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        await keeping.set_queue(self.pool, name, settings)

    async def workers(self) -> list[Worker]:
        return await keeping.workers(self.pool)

    async def counts(self) -> list[tuple[str, str, str, int]]:
        return [(state, script, cause, n) for state, script, cause, n in await self.pool.ask("counts", {})]

    async def position(self) -> int:
        ((position,),) = await self.pool.ask("position", {})
        return int(position)

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _turned(self) -> float | None:
        """The time that a test has turned to; the server has its own."""
        return self._clock.turned() if self._clock.turned else None

    def _heard(self, now: float | None) -> None:
        if now is not None and self._clock.turned is None:
            self._clock.heard(now)
