"""The store: each primitive is a few steps on single documents."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from pumasi.broker.base import Broker
from pumasi.broker.mongodb import (
    batches,
    blobs,
    claims,
    classic,
    inlet,
    jobs,
    keeping,
    logs,
    outlet,
    rates,
    runs,
    search,
)
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.connection import Connection
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.gate import gate
from pumasi.broker.store import Claim, Extended, Inserted, Store, Taken
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import Held, Job, KeyLimit, Page, Query, Queue, QueueSettings, Record, State, Worker
from pumasi.errors import Error, Invalid

T = TypeVar("T")


class MongoStore(Store):
    """A store in one database. May be used from several threads and event loops of a process at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._standalone = False

    async def open(self) -> None:
        with gate(self._connection.place):
            database = await self._connection.open()
            await database.prepare()
        self._standalone = not database.replicated

    async def close(self) -> None:
        await self._connection.close()

    @property
    def inlets(self) -> tuple[str, ...]:
        return (classic.QUEUE,)

    def concerns(self) -> list[Error]:
        if not self._standalone:
            return []
        text = (
            "MongoDB at {place} is a standalone server: jobs are on one disk, and waiting workers look every few "
            "seconds; make it a replica set, of one member if need be (rs.initiate())"
        )
        return [Error(text, place=self._connection.place)]

    async def now(self) -> float:
        return self._connection.clock.now()

    async def insert(self, new: Sequence[Job], max_pending: int) -> Inserted:
        if not new:
            return Inserted()
        return await self._ask(lambda db: batches.insert(db, new, max_pending))

    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        return await self._ask(lambda db: batches.adopt(db, entries))

    async def load(self, ids: Sequence[str]) -> list[Job | None]:
        return await self._ask(lambda db: _load(db, ids))

    async def swap(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await self._ask(lambda db: _swap(db, pairs, same_lease=True))

    async def settle(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        return await self._ask(lambda db: _swap(db, pairs, same_lease=False))

    async def take(self, claim: Claim) -> Taken:
        return await self._ask(lambda db: claims.take(self._connection, db, claim))

    async def lapsed(self, queues: Sequence[str] | None, limit: int, memory: int | None = None) -> list[Job]:
        return await self._ask(lambda db: runs.lapsed(self._connection, db, queues, limit, memory))

    async def extend(self, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
        return await self._ask(lambda db: runs.extend(db, worker, leases, lease))

    async def scan(self, query: Query) -> Page:
        return await self._ask(lambda db: search.scan(db, query))

    async def append(self, id: str, token: str, records: Sequence[Record]) -> bool:
        return await self._ask(lambda db: logs.append(db, id, token, records))

    async def read(self, id: str, after: int, limit: int) -> list[Record] | None:
        return await self._ask(lambda db: logs.read(db, id, after, limit))

    async def put_blob(self, key: str, data: bytes) -> None:
        await self._ask(lambda db: blobs.put(db, key, data))

    async def get_blob(self, key: str) -> bytes | None:
        return await self._ask(lambda db: blobs.get(db, key))

    async def list_blobs(self, prefix: str) -> dict[str, int]:
        return await self._ask(lambda db: blobs.names(db, prefix))

    async def purge(self, ended_before: Mapping[State, float], scripts_before: float, workers_before: float) -> int:
        gone = 0
        while n := await self._ask(lambda db: keeping.forget_jobs(db, ended_before)):
            gone += n
        strays_before = min(ended_before.values())
        await self._ask(lambda db: keeping.forget_rest(db, strays_before, scripts_before, workers_before))
        return gone

    async def acquire(self, limit: KeyLimit, n: int) -> float:
        return await self._ask(lambda db: rates.acquire(db, limit, n))

    async def queues(self) -> list[Queue]:
        return await self._ask(keeping.queues)

    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        await self._ask(lambda db: db.board.set_queue(name, settings))

    async def workers(self) -> list[Worker]:
        return await self._ask(keeping.workers)

    async def counts(self) -> list[tuple[str, str, str, int]]:
        return await self._ask(keeping.counts)

    async def position(self) -> int:
        return await self._ask(_position)

    async def create(self, document: Document) -> None:
        """Insert a document where other programs put theirs."""
        await self._ask(lambda db: db.classic.insert_one(document))

    async def _ask(self, step: Callable[[Database], Awaitable[T]]) -> T:
        with gate(self._connection.place):
            return await step(await self._connection.here())


async def _load(db: Database, ids: Sequence[str]) -> list[Job | None]:
    found = await batches.load(db, ids)
    unknown = [id for id, job in zip(ids, found, strict=True) if job is None and inlet.may_be(id)]
    if unknown and await inlet.note(db, unknown):
        return await batches.load(db, ids)
    return found


async def _swap(db: Database, pairs: Sequence[tuple[Job, Job]], *, same_lease: bool) -> list[Job | None]:
    stored = await jobs.swap(db, pairs, same_lease=same_lease)
    await outlet.tell(db, stored)
    return stored


async def _position(db: Database) -> int:
    return db.board.horizon(await db.board.look())


async def create_job(
    broker: Broker,
    request_name: str,
    python_path: str,
    python_args: Sequence[str],
    required_memory: float = classic.MEMORY,
    scheduled_date: datetime | None = None,
) -> str:
    """Insert a document as programs without us do it; the id of its job, which is its `_id`, too.

    Args:
        required_memory: MB that a worker must have free.
        scheduled_date: not before; a time without offset is this host's.

    Raises: Invalid (a value of another kind, a broker other than MongoDB), Unavailable.
    """
    if not isinstance(broker, StoreBroker) or not isinstance(broker.store, MongoStore):
        raise Invalid("create_job inserts a document into MongoDB; connect to a mongodb:// URL, or use submit")
    document = classic.new(
        request_name, python_path, python_args, required_memory, scheduled_date, await broker.store.now()
    )
    await broker.store.create(document)
    broker.bell.ring(f"queue:{classic.QUEUE}")
    return str(document["_id"])
