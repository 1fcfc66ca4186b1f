"""What everything else speaks of: jobs, leases, workers, queues, records. All frozen; a change is a new value.

Times are Unix seconds by the broker's clock; durations are seconds; sizes are bytes. JSON values that belong to users
(parameters, results) are kept as opaque JSON text, so that no store can bend them.
"""

import json
from enum import StrEnum
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

MAX_ID = 128  # characters of an id, ours or a caller's
MAX_PARAMETERS = 1024 * 1024  # bytes of a parameters text
INLINE_RESULT = 256 * 1024  # bytes of a result text above which it goes to the blob store


class State(StrEnum):
    """Where a job stands. The last three are endings: a job that has one never changes again."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether this is an ending."""
        return self in ENDED


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
LIVE = frozenset({State.PENDING, State.RUNNING})


class Cause(StrEnum):
    """Why a job did not complete. Observed, never guessed."""

    EXIT = "exit"  # the script ended with an exit code other than 0
    SIGNAL = "signal"  # … by a signal that was not ours
    TIMEOUT = "timeout"  # wall time
    MEMORY = "memory"
    CPU = "cpu"
    PROCESSES = "processes"
    DISK = "disk"
    OUTPUT = "output"  # it printed, or returned, more than it may
    ERROR = "error"  # `main` raised
    BAD_RESULT = "bad_result"  # no strict JSON where a result was due
    CONTRACT = "contract"  # a result against its schema
    INVALID = "invalid"  # the job cannot be run as it stands
    FETCH = "fetch"  # the script could not be fetched
    LOST = "lost"  # its worker died or fell silent
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # nobody started it in time
    SANDBOX = "sandbox"  # our cage failed, three times


ResultMode = Literal["json", "json-lenient", "return", "none"]
OnLost = Literal["retry", "fail"]


class Limits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run may use; `None` is no limit. As *peaks*: what it did use; `None` is not measured."""

    #: bytes of memory, the whole tree counted
    memory: int | None = None
    #: seconds of CPU time
    cpu: float | None = None
    #: processes and threads at one time
    processes: int | None = None
    #: open files of one process
    open_files: int | None = None
    #: bytes in the scratch folder
    disk: int | None = None
    #: bytes printed
    output: int | None = None


class Retry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a run that failed by its own doing is tried again: exponential backoff with full jitter."""

    max_attempts: int = 1
    #: seconds; the first wait is drawn from 0 … delay
    delay: float = 1.0
    factor: float = 2.0
    max_delay: float = 300.0
    on: tuple[Cause, ...] = (Cause.EXIT, Cause.SIGNAL, Cause.ERROR, Cause.TIMEOUT)


class KeyLimit(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Jobs that share `key` run at most `concurrency` at a time, and start at most `count` times in any `period` s."""

    key: str
    concurrency: int | None = None
    count: int | None = None
    period: float = 60.0


class Progress(Struct, frozen=True, omit_defaults=True):
    """How far a script says it is."""

    done: float
    total: float | None = None
    note: str = ""


class Job(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run of a script that was asked for, and what has become of it."""

    # -- what was asked -------------------------------------------------------------------------------------------
    id: str
    #: the script's name, and the version asked for
    script: str
    version: str | None = None
    #: what name and version meant at submit; the content that is run
    digest: str | None = None
    #: text of a JSON object; None: submitted without
    parameters: str | None = None
    args: tuple[str, ...] | None = None
    queue: str = "default"
    #: 0 … 9, 9 is most urgent
    priority: int = 0
    created_at: float = 0.0
    #: not before this time
    run_at: float = 0.0
    #: not started after this time
    expires_at: float | None = None
    #: wall time of one attempt
    timeout: float | None = None
    limits: Limits = Limits()
    #: what admission counts
    required_memory: int = 128 * 1024 * 1024
    result_mode: ResultMode | None = None
    retry: Retry = Retry()
    on_lost: OnLost = "retry"
    limit: KeyLimit | None = None
    #: for whom it is: a fair queue serves those that share it in turn
    share: str = ""
    #: holds while the job has not ended
    unique: str | None = None
    #: holds as long as the record is kept
    idempotency_key: str | None = None
    #: digest of what was asked, to tell a repetition from another request under the same key
    body_hash: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    #: the job this one repeats
    parent: str | None = None
    #: the id that a foreign caller gave it
    external_id: str | None = None

    # -- where it stands ------------------------------------------------------------------------------------------
    state: State = State.PENDING
    #: raised by every claim; informs, does not fence
    attempt: int = 0
    #: runs that failed by their own doing and were followed by another
    retries_used: int = 0
    #: workers that died or fell silent under it
    deaths: int = 0
    fetch_faults: int = 0
    sandbox_faults: int = 0
    worker: str | None = None
    claim_id: str | None = None
    #: the last lease's token; it alone fences
    token: str | None = None
    lease_until: float | None = None
    claimed_at: float | None = None
    #: just before the fork; a death counts only after this
    started_at: float | None = None
    cancel_requested: bool = False
    progress: Progress | None = None

    # -- how it ended ---------------------------------------------------------------------------------------------
    ended_at: float | None = None
    #: JSON text; large ones are in the blob store under `result_blob`
    result: str | None = None
    result_blob: str | None = None
    result_size: int = 0
    error: str | None = None
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None
    peaks: Limits = Limits()
    #: limits as they were in force, with the worker's defaults filled in
    enforced: Limits = Limits()
    isolation: str | None = None
    #: what the cage of its last run left open: host-network, user-namespaces, disk-scratch
    openings: tuple[str, ...] = ()
    #: seconds spent in `fetch`, `prepare`, `run`, `collect`
    phases: dict[str, float] = field(default_factory=dict)
    #: last lines of its log, for the record
    log_tail: str = ""
    warnings: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    #: what people have made of its failure since; until then it is a dead letter
    resolved: Literal["requeued", "discarded"] | None = None

    # -- kept by the store ----------------------------------------------------------------------------------------
    #: raised by every write but the extension of a lease: compare-and-swap goes by it
    revision: int = 0
    #: position in the store's order of changes: what `watch` resumes from
    change: int = 0

    @property
    def ended(self) -> bool:
        """Whether the job has its ending."""
        return self.state in ENDED

    @property
    def dead(self) -> bool:
        """Whether it is a dead letter: it has failed for good, and nobody has looked after it yet."""
        return self.state is State.FAILED and self.resolved is None

    @property
    def reference(self) -> str:
        """`name` or `name@version`, as it was asked for."""
        return f"{self.script}@{self.version}" if self.version else self.script

    def artifact_key(self, name: str) -> str:
        """Under which key the blob store has an artifact of the last attempt; of an empty name, what all begin with."""
        return f"artifact/{self.id}/{self.attempt}/{name}"

    def log_key(self, attempt: int | str) -> str:
        """Under which key the blob store has all that an attempt printed, if it was more than the log may hold."""
        return f"log/{self.id}/{attempt}"

    @property
    def parameter_values(self) -> dict[str, Any]:
        """The parameters as values; {} when there are none."""
        values = json.loads(self.parameters) if self.parameters else {}
        assert isinstance(values, dict)
        return values


class Lease(Struct, frozen=True, kw_only=True):
    """The right to run a job, until it expires `expires_in` s after the claim unless a heartbeat extends it."""

    job: Job
    token: str
    expires_in: float

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.job.id


class Held(Struct, frozen=True):
    """A lease as a heartbeat names it; `started` is sent once, just before the fork."""

    id: str
    token: str
    started: bool = False


class Stop(Struct, frozen=True):
    """The answer to a heartbeat for a run that must not go on, and why."""

    id: str
    token: str
    reason: Literal["cancelled", "lost"]


class Worker(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker as it last said of itself; `seen_at` is the broker's time of that."""

    id: str
    status: Literal["active", "draining", "stopped", "lost"] = "active"
    host: str = ""
    pid: int = 0
    version: str = ""
    queues: tuple[str, ...] = ()
    isolation: str = ""
    slots_total: int = 0
    slots_used: int = 0
    memory_total: int = 0
    memory_free: int = 0
    started_at: float = 0.0
    seen_at: float = 0.0
    stats: dict[str, float] = field(default_factory=dict)


class Queue(Struct, frozen=True, kw_only=True):
    """A queue: its settings, and how full it is."""

    name: str
    paused: bool = False
    #: most jobs that may wait; None: the broker's default
    max_pending: int | None = None
    #: seconds of waiting that raise a job's priority by one; None: waiting raises nothing
    ageing: float | None = None
    #: whether those that share the queue (`Job.share`) are served in turn
    fair: bool = False
    pending: int = 0
    #: of the pending ones, those that are due
    due: int = 0
    running: int = 0
    #: seconds the longest waiting due job has waited
    oldest_age: float = 0.0


class Record(Struct, frozen=True):
    """A piece of what a run printed or said. `seq` = attempt << 32 | number: increasing, unique, repeatable."""

    seq: int
    time: float
    #: stdout, stderr, log, progress, system
    stream: str
    data: bytes

    @property
    def attempt(self) -> int:
        """The attempt it belongs to."""
        return self.seq >> 32


class Query(Struct, frozen=True, kw_only=True):
    """Which jobs; fields left out do not restrict. Newest first, or in order of change with `changed_after`."""

    states: tuple[State, ...] = ()
    queue: str | None = None
    script: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    #: created at or after
    since: float | None = None
    #: ids that begin with this
    prefix: str | None = None
    #: these ids and no others
    ids: tuple[str, ...] | None = None
    changed_after: int | None = None
    #: only dead letters: failed jobs that nobody has looked after
    dead: bool = False
    cursor: str | None = None
    limit: int = 100


class Page(Struct, frozen=True):
    """Some of the jobs a query means, the cursor of the next page, and how many there are by state (cursor aside)."""

    jobs: tuple[Job, ...]
    cursor: str | None
    totals: dict[str, int]


class Event(Struct, frozen=True):
    """A hint that a job has changed: its record as it stood then, and the position to resume from."""

    change: int
    job: Job


class Stats(Struct, frozen=True, kw_only=True):
    """The broker at a glance: kept jobs by (state, script, cause), queues, workers."""

    jobs: tuple[tuple[str, str, str, int], ...]
    queues: tuple[Queue, ...]
    workers: tuple[Worker, ...]


class QueueSettings(Struct, frozen=True, kw_only=True):
    """A change to a queue's settings; what is unset stays as it is."""

    paused: bool | UnsetType = UNSET
    max_pending: int | UnsetType | None = UNSET
    ageing: float | UnsetType | None = UNSET
    fair: bool | UnsetType = UNSET
