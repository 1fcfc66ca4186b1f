"""The store: each primitive is one script, run by the server in one go."""

from collections.abc import Mapping, Sequence

from pumasi.broker.redis import blobs, claims, jobs, keeping, logs, search
from pumasi.broker.redis.server import Server
from pumasi.broker.store import Claim, Extended, Inserted, Store, Taken
from pumasi.core.job import Held, Job, KeyLimit, Page, Query, Queue, QueueSettings, Record, State, Worker
from pumasi.errors import Error


class RedisStore(Store):
    """A store in a Redis server. May be used from several threads and event loops of a process at once."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def open(self) -> None:
        await self._server.open()

    async def close(self) -> None:
        await self._server.close()

    def concerns(self) -> list[Error]:
        return self._server.concerns()

    async def now(self) -> float:
        return self._server.clock.now()

    async def insert(self, new: Sequence[Job], max_pending: int) -> Inserted:
        return await jobs.insert(self._server, new, max_pending)

    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        return await jobs.adopt(self._server, entries)

    async def load(self, ids: Sequence[str]) -> list[Job | None]:
        return await jobs.load(self._server, ids)

    async def swap(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await jobs.swap(self._server, pairs, same_lease=True, fetch=self.fetch)

    async def settle(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await jobs.swap(self._server, pairs, same_lease=False, fetch=self.fetch)

    async def take(self, claim: Claim) -> Taken:
        return await claims.take(self._server, claim)

    async def lapsed(self, queues: Sequence[str] | None, limit: int, memory: int | None = None) -> list[Job]:
        return await claims.lapsed(self._server, queues, limit, memory)

    async def extend(self, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
        return await claims.extend(self._server, worker, leases, lease)

    async def scan(self, query: Query) -> Page:
        return await search.scan(self._server, query)

    async def append(self, id: str, token: str, records: Sequence[Record]) -> bool:
        return await logs.append(self._server, id, token, records)

    async def read(self, id: str, after: int, limit: int) -> list[Record] | None:
        return await logs.read(self._server, id, after, limit)

    async def put_blob(self, key: str, data: bytes) -> None:
        await blobs.put(self._server, key, data)

    async def get_blob(self, key: str) -> bytes | None:
        return await blobs.get(self._server, key)

    async def list_blobs(self, prefix: str) -> dict[str, int]:
        return await blobs.names(self._server, prefix)

    async def purge(self, ended_before: Mapping[State, float], scripts_before: float, workers_before: float) -> int:
        return await keeping.purge(self._server, ended_before, scripts_before, workers_before)

    async def acquire(self, limit: KeyLimit, n: int) -> float:
        return await claims.acquire(self._server, limit, n)

    async def queues(self) -> list[Queue]:
        return await keeping.queues(self._server)

    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        await keeping.set_queue(self._server, name, settings)

    async def workers(self) -> list[Worker]:
        return await keeping.workers(self._server)

    async def counts(self) -> list[tuple[str, str, str, int]]:
        return await keeping.counts(self._server)

    async def position(self) -> int:
        return int(await self._server.ask(b"GET", self._server.key("change")) or 0)
