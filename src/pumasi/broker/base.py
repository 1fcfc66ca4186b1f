"""The contract of a broker: what every backend must do, verb by verb. The conformance suite is its executable form.

All times are by the broker's clock; a worker is told durations. All verbs are safe to repeat: submit by id, claim by
claim id, settle by token, append by seq.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, Self

from pumasi.core.job import (
    Event,
    Held,
    Job,
    KeyLimit,
    Lease,
    Page,
    Query,
    Queue,
    QueueSettings,
    Record,
    State,
    Stats,
    Stop,
    Worker,
)
from pumasi.core.outcome import Outcome
from pumasi.errors import ArtifactNotFound, Error

#: seconds a lease lasts without a heartbeat
LEASE = 30.0
#: a queue that has no bound of its own holds this many pending jobs
MAX_PENDING = 1_000_000
#: seconds an ended job is kept
RETENTION = 24 * 3600.0


class Broker(ABC):
    """Where jobs wait, and where the truth about them is kept. Use as an async context manager."""

    #: the URL it was made from, without secrets: for people
    url: str
    #: seconds a lease lasts without a heartbeat
    lease: float
    #: seconds an ended job is kept, and a bundle that no job refers to
    retention: float
    #: seconds for endings that are kept for another time
    retentions: Mapping[State, float]

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises Unavailable (try again later) or Invalid (it will never work like this)."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything; safe to repeat."""

    @property
    def inlets(self) -> tuple[str, ...]:
        """Queues beside `default` that a face for other programs fills; a worker told no queues serves them, too."""
        return ()

    def concerns(self) -> list[Error]:
        """What weakens a promise on this server, and what to do about it; known once it is open."""
        return []

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- those who want work done ---------------------------------------------------------------------------------

    @abstractmethod
    async def submit(self, jobs: Sequence[Job]) -> list[Job]:
        """Take jobs in, all or none; returns the records as stored, once they are durable.

        - By id: a job whose id is known is answered with the stored record, unchanged, whatever else it says.
        - By `idempotency_key`, for as long as the record is kept, and by `unique`, until the job has ended: the same
          key with the same `body_hash` is answered with the stored record, with another one it is a Conflict.
        - A queue that holds `max_pending` pending jobs refuses with QueueFull, which says when to try again.

        Raises: Conflict, QueueFull, Unavailable.
        """

    @abstractmethod
    async def get(self, id: str) -> Job:
        """The record of a job. Raises: JobNotFound."""

    @abstractmethod
    async def find(self, query: Query) -> Page:
        """Jobs that match, newest first by (created_at, id), at most `limit`; `cursor` of a page continues it.

        With `changed_after`: in order of `change`, those changed after it. Totals count all matches by state, whatever
        the page and the states asked for; a page in order of change has none. A page holds 1000 jobs at most. Raises:
        Invalid (a cursor that is none of ours, a limit below 1).
        """

    @abstractmethod
    async def cancel(self, id: str) -> Job:
        """Pending: ended as cancelled at once. Running: flagged, its worker is told by bell or heartbeat; a run that
        ends `completed` before it is stopped stays completed. Ended: unchanged. Raises: JobNotFound."""

    @abstractmethod
    async def resolve(self, id: str, how: Literal["requeued", "discarded"]) -> Job:
        """Somebody has looked after a dead letter: it is one no more. Other jobs are unchanged. Raises: JobNotFound."""

    @abstractmethod
    async def wait(self, id: str, timeout: float) -> Job:
        """The record once the job has ended, or as it stands after `timeout` seconds. Raises: JobNotFound."""

    async def result(self, job: Job) -> str | None:
        """The JSON text of a completed job's result, fetched from the blob store when it is large."""
        if job.result_blob is None:
            return job.result
        data = await self.get_blob(job.result_blob)
        return None if data is None else data.decode()

    async def artifacts(self, job: Job) -> dict[str, int]:
        """The files that the job's last attempt left, by name, and the size of each."""
        prefix = job.artifact_key("")
        return {key.removeprefix(prefix): size for key, size in (await self.list_blobs(prefix)).items()}

    async def artifact(self, job: Job, name: str) -> bytes:
        """One of these files. Raises: ArtifactNotFound."""
        data = await self.get_blob(job.artifact_key(name))
        if data is None:
            raise ArtifactNotFound(id=job.id, name=name)
        return data

    async def whole_log(self, job: Job) -> bytes:
        """What a job printed, attempt by attempt: all of it where that was kept, else what its log holds."""
        kept = await self.list_blobs(job.log_key(""))
        whole = {int(key.rpartition("/")[2]): await self.get_blob(key) for key in kept}
        attempts: dict[int, bytes] = {}
        after = 0
        while records := await self.read(job.id, after):
            for record in records:
                if record.stream != "progress" and whole.get(record.attempt) is None:
                    attempts[record.attempt] = attempts.get(record.attempt, b"") + record.data
            after = records[-1].seq
        attempts |= {attempt: data for attempt, data in whole.items() if data is not None}
        return b"".join(attempts[attempt] for attempt in sorted(attempts))

    # -- those who do it ------------------------------------------------------------------------------------------

    @abstractmethod
    async def claim(
        self, worker: str, queues: Sequence[str], slots: int, memory: int, wait: float, claim_id: str | None = None
    ) -> list[Lease]:
        """Up to `slots` leases, waiting up to `wait` seconds for the first one; an empty list when there is nothing.

        - Eligible: pending and due, or running on a lapsed lease, in one of `queues`, that queue not paused, free by
          its keyed limit. What is handed out needs no more than `memory` bytes (`required_memory`) in sum; a job that
          does not fit does not stop those behind it.
        - Order: priority (9 first), due time, id; in ageing and fair queues as `core.order` says.
        - Atomic: no two claims get the same job. Each raises `attempt`, and makes a new token.
        - The same `claim_id` again returns those of its leases that are still held; when none is left, it is a new
          claim. With 0 slots nothing new is handed out: what an interrupted claim had won can be asked for.
        """

    @abstractmethod
    async def heartbeat(self, worker: Worker, leases: Sequence[Held]) -> list[Stop]:
        """Register or refresh `worker`, extend all its leases in one call, and learn which runs to stop, and why.

        A lease sent with `started` marks its run as started (for the count of deaths). A worker whose status is
        `stopped` is forgotten. Not extended: a lease whose token no longer holds (`lost`). Extended, and told to stop:
        one whose job was cancelled.
        """

    @abstractmethod
    async def settle(self, lease: Lease, outcome: Outcome) -> Job:
        """End a run: the one way up. Token and cancel flag are compared in the same write; the next state is
        `core.lifecycle.settled`. Repeating it is answered with the stored record. Raises: LeaseLost, JobNotFound."""

    @abstractmethod
    async def append(self, lease: Lease, records: Sequence[Record]) -> None:
        """Add to the job's log; a seq already there is ignored. The last record of stream `progress` (a JSON text
        `[done, total|null, note]`) becomes the job's progress. First and last bytes are kept (`core.logbook`).
        Raises: LeaseLost when the token no longer holds."""

    @abstractmethod
    def stops(self, worker: str) -> AsyncIterator[str]:
        """Hints, as they come, of ids of jobs that this worker runs and that were cancelled; may never yield."""

    # -- what is kept beside the jobs -----------------------------------------------------------------------------

    @abstractmethod
    async def read(self, id: str, after: int = 0, limit: int = 1000) -> list[Record]:
        """Log records of a job with a seq greater than `after`, in order. Raises: JobNotFound."""

    @abstractmethod
    def follow(self, id: str, after: int = 0) -> AsyncIterator[Record]:
        """Log records as they come, until the job has ended and all were given. Raises: JobNotFound."""

    @abstractmethod
    async def put_blob(self, key: str, data: bytes) -> None:
        """Keep bytes under a key such as `script/<digest>`, `result/<job>/<attempt>`,
        `artifact/<job>/<attempt>/<name>`, in place of what was there. A job's blobs go when its record goes; a
        script's when no kept job refers to it any more."""

    @abstractmethod
    async def get_blob(self, key: str) -> bytes | None:
        """The bytes under a key, or None."""

    @abstractmethod
    async def list_blobs(self, prefix: str) -> dict[str, int]:
        """Keys that begin with `prefix`, and the size of each."""

    # -- those who look after it ----------------------------------------------------------------------------------

    @abstractmethod
    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        """Take in records of another broker, and the log of each, as they stand: all of a batch, or none.

        Ids that are known are left alone. Returns how many were new. Raises: Conflict (another job holds the key),
        Invalid (a job that runs).
        """

    @abstractmethod
    async def sweep(self, *, forget: bool = True) -> int:
        """End what nobody will claim (`core.lifecycle.swept`); with `forget`, also forget ended jobs after their
        retention time, bundles that no job refers to, and workers silent for five minutes. Returns how many jobs it
        ended. Safe to run side by side."""

    @abstractmethod
    async def acquire(self, limit: KeyLimit, n: int = 1) -> float:
        """Take `n` starts under a rate limit outside a claim: 0 when granted, else seconds until trying again makes
        sense (nothing taken). Raises: Invalid when `n` can never be granted."""

    @abstractmethod
    async def queues(self) -> list[Queue]:
        """All queues that hold a job or have settings, by name."""

    @abstractmethod
    async def set_queue(self, name: str, settings: QueueSettings) -> Queue:
        """Change a queue's settings. A paused queue takes jobs in and hands none out."""

    @abstractmethod
    async def workers(self) -> list[Worker]:
        """Those that have not said goodbye; silent for two leases: `lost`."""

    @abstractmethod
    async def stats(self) -> Stats:
        """Counts of kept jobs, the queues, the workers."""

    @abstractmethod
    async def now(self) -> float:
        """The broker's time, as well as it is known here: what `delay` and `expires` are counted from."""

    # -- hints ----------------------------------------------------------------------------------------------------

    @abstractmethod
    async def hint(self, *topics: str, timeout: float) -> bool:
        """Wait until something about `topics` may have changed; False when `timeout` seconds passed in silence.

        Topics: `queue:NAME`, `job:ID`, `log:ID`, `worker:ID`, `changes`. May wake for nothing, may sleep through news.
        """

    @abstractmethod
    def watch(self, query: Query, after: int | None = None) -> AsyncIterator[Event]:
        """Events as jobs matching `query` change, from position `after` (None: from now). Best effort: changes that
        follow one another quickly may be told as one. State is truth, this is news."""

    @abstractmethod
    async def position(self) -> int:
        """The latest change there is: where a `watch` from now on begins."""
