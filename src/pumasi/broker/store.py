"""The primitives a backend writes: insert, load, compare and swap, take, extend, append, scan.

`verbs.StoreBroker` turns them into the contract of `base.Broker`. A store decides nothing: which job may be had, and
what becomes of it, are pure functions of `core`. Driver errors never leave a store: it raises `Unavailable` for what
may pass, `Invalid` for what will not.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from pumasi.core.job import Held, Job, KeyLimit, Page, Query, Queue, QueueSettings, Record, State, Worker
from pumasi.errors import Error


class Inserted(Struct, frozen=True):
    """What became of an insert: the records as stored, or what stood in the way (then nothing was stored)."""

    jobs: tuple[Job, ...] = ()
    #: ids that were not there before
    fresh: frozenset[str] = frozenset()
    conflict: tuple[str, Job] | None = None
    full: tuple[str, int] | None = None


class Taken(Struct, frozen=True):
    """What a take found: jobs claimed; or whether lapsed runs wait to be reclaimed, and when something is next due."""

    jobs: tuple[Job, ...] = ()
    #: then nothing was taken: the lapsed runs have their place in the order, so they are made pending first
    lapsed: bool = False
    next_at: float | None = None
    now: float = 0.0


class Extended(Struct, frozen=True):
    """Leases extended whose job was cancelled, and those whose token no longer holds."""

    cancelled: tuple[Held, ...] = ()
    lost: tuple[Held, ...] = ()


class Claim(Struct, frozen=True, kw_only=True):
    """What a worker asks of a take."""

    worker: str
    queues: tuple[str, ...]
    slots: int
    memory: int
    claim_id: str
    lease: float
    tokens: tuple[str, ...]


#: reads a blob by its key
Fetch = Callable[[str], Awaitable[bytes | None]]


class Store(ABC):
    """What a backend writes. Every method is one atomic step on the server, by the server's clock."""

    #: reads blobs of jobs where they are kept outside; None: they are here
    fetch: Fetch | None = None

    @abstractmethod
    async def open(self) -> None:
        """Connect, and bring the schema up to date."""

    @abstractmethod
    async def close(self) -> None:
        """Let go; safe to repeat."""

    @property
    def inlets(self) -> tuple[str, ...]:
        """As `Broker.inlets`."""
        return ()

    def concerns(self) -> list[Error]:
        """What weakens a promise on this server, and what to do about it; known once it is open."""
        return []

    @abstractmethod
    async def now(self) -> float:
        """The server's time, or an estimate by the offset of its last answer: costs no round trip."""

    @abstractmethod
    async def insert(self, jobs: Sequence[Job], max_pending: int) -> Inserted:
        """Store `lifecycle.submitted(job, now)` of each job, all or none, under the rules of `Broker.submit`."""

    @abstractmethod
    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        """As `Broker.adopt`; all or none."""

    @abstractmethod
    async def load(self, ids: Sequence[str]) -> list[Job | None]:
        """The records, None where there is none."""

    @abstractmethod
    async def swap(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        """For each (old, new): store `new` if the stored `revision` and `lease_until` are still old's; raises
        `revision` and assigns the next `change`. `started_at` and `progress` belong to take, extend and append: they
        stay as stored, but a `started_at` that nobody has told is taken from new. Returns the record as stored, None
        where somebody else was faster."""

    @abstractmethod
    async def settle(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        """As `swap`, by the holder of the lease: only the stored `revision` is compared, not `lease_until`."""

    @abstractmethod
    async def take(self, claim: Claim) -> Taken:
        """Apply `lifecycle.claimed` to what `Broker.claim` says, pending jobs only; note starts under a rate limit, and
        in a fair queue whose share was served.
        The same claim id: those still held. No slots: nothing new. `lapsed`: a running job of these queues (those not
        paused) that fits into the memory has outlived its lease; then nothing is taken."""

    @abstractmethod
    async def lapsed(self, queues: Sequence[str] | None, limit: int, memory: int | None = None) -> list[Job]:
        """Jobs `pending` past their `expires_at`, then those `running` on a lapsed lease, of each the longest first;
        with `queues` only lapsed runs of those; with `memory` only those that need no more."""

    @abstractmethod
    async def extend(self, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
        """Store the worker, extend the leases whose token holds, mark those sent as started."""

    @abstractmethod
    async def scan(self, query: Query) -> Page:
        """As `Broker.find`; a page in order of change carries no totals."""

    @abstractmethod
    async def append(self, id: str, token: str, records: Sequence[Record]) -> bool:
        """As `Broker.append`; False when the token no longer holds. Progress assigns the next `change` and leaves
        `revision` as it is."""

    @abstractmethod
    async def read(self, id: str, after: int, limit: int) -> list[Record] | None:
        """As `Broker.read`; None when there is no such job."""

    @abstractmethod
    async def put_blob(self, key: str, data: bytes) -> None:
        """As `Broker.put_blob`."""

    @abstractmethod
    async def get_blob(self, key: str) -> bytes | None:
        """As `Broker.get_blob`."""

    @abstractmethod
    async def list_blobs(self, prefix: str) -> dict[str, int]:
        """As `Broker.list_blobs`."""

    @abstractmethod
    async def purge(self, ended_before: Mapping[State, float], scripts_before: float, workers_before: float) -> int:
        """Forget jobs that ended before, by how they ended, with logs, blobs and keys; blobs of no kept job stored
        before the earliest of these times; bundles no kept job refers to and not stored since; workers not seen since.
        In batches that leave room for others. Returns how many jobs went."""

    @abstractmethod
    async def acquire(self, limit: KeyLimit, n: int) -> float:
        """As `Broker.acquire`."""

    @abstractmethod
    async def queues(self) -> list[Queue]:
        """As `Broker.queues`."""

    @abstractmethod
    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        """As `Broker.set_queue`."""

    @abstractmethod
    async def workers(self) -> list[Worker]:
        """All that are stored, as stored."""

    @abstractmethod
    async def counts(self) -> list[tuple[str, str, str, int]]:
        """Kept jobs by (state, script, cause or '')."""

    @abstractmethod
    async def position(self) -> int:
        """The latest change."""
