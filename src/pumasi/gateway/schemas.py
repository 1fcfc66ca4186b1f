"""The forms of requests and answers, for validation and for the description of the API (`/openapi.json`)."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pumasi.core.job import Query, State
from pumasi.core.times import MICROSECOND
from pumasi.intake.fields import checked, problem, shown
from pumasi.intake.request import JobRequest, LimitsRequest, QueueName, RetryRequest, Time
from pumasi.units import parse_duration

StateName = Literal["pending", "running", "completed", "failed", "cancelled"]
#: seconds, or text such as 1m30s
Wait = Annotated[float, BeforeValidator(checked(parse_duration))]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BatchRequest(_Request):
    """Several jobs, taken all or none."""

    jobs: Annotated[list[JobRequest], Field(min_length=1, max_length=1000)]


class QueueRequest(_Request):
    """A change to a queue's settings; what is left out stays as it is."""

    paused: bool = False
    max_pending: Annotated[int, Field(ge=0)] | None = Field(None, description="null: the broker's default")
    ageing: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="seconds of waiting that raise a job's priority by one; null: off"
    )
    fair: bool = Field(False, description="serve those that share it (`share` of a job) in turn")


class AgainRequest(_Request):
    """How a job is asked for again."""

    parameters: dict[str, Any] | None = Field(None, description="in place of the old ones; null: the same")


def _label(value: str) -> str:
    if ":" not in value:
        raise problem("must be NAME:VALUE, not {value}", value=shown(value))
    return value


def _number_or_text(value: Any) -> Any:
    """Text of a query as a number where it is one."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


class Filters(BaseModel):
    """Which jobs; what is left out does not restrict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: list[StateName] = []
    script: str | None = None
    queue: QueueName | None = None
    label: list[Annotated[str, AfterValidator(_label)]] = Field([], description="NAME:VALUE")
    parent: str | None = None
    prefix: str | None = Field(None, description="what the id begins with")
    since: Annotated[Time | None, BeforeValidator(_number_or_text)] = Field(
        None, description="created at or after: ISO 8601, or Unix seconds"
    )
    dead: bool = Field(False, description="only dead letters: failed jobs that nobody has looked after")
    cursor: str | None = Field(None, description="that of the page before")
    limit: Annotated[int, Field(ge=1, le=1000)] = 100

    def query(self) -> Query:
        """As a broker is asked."""
        return Query(
            states=tuple(State(name) for name in self.state),
            queue=self.queue,
            script=self.script,
            labels=dict(label.split(":", 1) for label in self.label),
            parent=self.parent,
            since=None if self.since is None else self.since - MICROSECOND,
            prefix=self.prefix,
            dead=self.dead,
            cursor=self.cursor,
            limit=self.limit,
        )


class TimesView(BaseModel):
    """ISO 8601 in UTC; durations in seconds."""

    model_config = ConfigDict(extra="forbid")

    created_at: str | None
    run_at: str | None
    expires_at: str | None
    claimed_at: str | None
    started_at: str | None
    ended_at: str | None
    wait: float | None = Field(description="from being due to the last claim")
    run: float | None = Field(description="from its start to its end")
    phases: dict[str, float] = Field(description="fetch, prepare, run, collect")


class LimitsView(BaseModel):
    """Bytes and seconds; null: no limit, or not measured."""

    model_config = ConfigDict(extra="forbid")

    memory: int | None
    cpu: float | None
    processes: int | None
    open_files: int | None
    disk: int | None
    output: int | None


class JobView(BaseModel):
    """A job, and what has become of it."""

    model_config = ConfigDict(extra="forbid")

    id: str
    state: StateName
    script: str
    version: str | None
    digest: str | None = Field(description="the content that is run")
    parameters: dict[str, Any] | None
    args: list[str] | None
    queue: str
    priority: int
    labels: dict[str, str]
    unique: str | None
    external_id: str | None
    parent: str | None = Field(description="the job this one repeats")
    result: Any = Field(description="JSON; null in a list when it is larger than 256 KiB")
    result_size: int
    error: str | None
    cause: str | None = Field(description="why it did not complete: exit, signal, timeout, memory, …")
    exit_code: int | None
    signal: int | None
    attempt: int
    retries_used: int
    deaths: int
    fetch_faults: int
    sandbox_faults: int
    peaks: LimitsView
    limits: LimitsView = Field(
        description="in force once a run has ended, with the worker's defaults; until then asked for"
    )
    requested_limits: LimitsView = Field(description="what the job, or its script, asked for")
    isolation: str | None
    openings: list[str] = Field(description="what the cage left open: host-network, user-namespaces, disk-scratch")
    timeout: float | None
    required_memory: int
    result_mode: str | None
    on_lost: str
    retry: dict[str, Any]
    limit: dict[str, Any] | None = Field(description="what jobs of the same key share")
    share: str = Field(description="for whom it is: a fair queue serves these in turn")
    times: TimesView
    progress: dict[str, Any] | None
    warnings: list[str]
    log_tail: str
    artifacts: list[str]
    worker: str | None
    cancel_requested: bool
    resolved: str | None = Field(description="what was made of its failure: requeued, discarded; null: nothing yet")
    change: int = Field(description="position in the order of changes")


class PageView(BaseModel):
    """Some jobs, newest first; `cursor` asks for those that follow; `totals` by state."""

    jobs: list[JobView]
    cursor: str | None
    totals: dict[str, int]


class ErrorView(BaseModel):
    """Any answer of 400 and above."""

    error: str = Field(description="class of the error")
    message: str = Field(description="for people, in the language of Accept-Language")
    text: str = Field(description="id of the message")
    details: dict[str, Any] = Field(description="what the text is filled in with; `fields` names bad fields")


#: what the description refers to by name, beside the answers that routes declare
DESCRIBED: tuple[type[BaseModel], ...] = (
    JobRequest,
    LimitsRequest,
    RetryRequest,
    BatchRequest,
    AgainRequest,
    QueueRequest,
    ErrorView,
)
