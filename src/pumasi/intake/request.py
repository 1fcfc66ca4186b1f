"""What a job is asked for with: the body of `POST /v1/jobs`, and the options of `Client.submit`."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from pumasi.core import strict
from pumasi.core.job import MAX_ID, MAX_PARAMETERS, Cause, OnLost, ResultMode
from pumasi.core.times import parse_time
from pumasi.intake.fields import checked, problem, shown
from pumasi.scripts.base import Reference
from pumasi.units import parse_duration, parse_rate, parse_size

#: bytes of all `args` together: what any kernel passes to a process
MAX_ARGS = 100 * 1024
MAX_LABELS = 32
#: the farthest `run_at`: a year of four digits can always be written down
_LAST_TIME = 253_370_764_800.0
_QUEUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")


def _above_zero(value: float) -> float:
    if value <= 0:
        raise problem("must be above 0, not {value}", value=f"{value:g}")
    return value


def _priority(value: int) -> int:
    if not 0 <= value <= 9:
        raise problem("must be 0 to 9 (9 is most urgent), not {value}", value=value)
    return value


def _queue(value: str) -> str:
    if not _QUEUE.fullmatch(value):
        raise problem("{value} is no name of a queue; use letters, digits, '_', '-', '.' and ':'", value=shown(value))
    return value


def _key(value: str) -> str:
    if not value or len(value) > MAX_ID or not value.isprintable():
        raise problem("must be 1 to {limit} printable characters, not {value}", limit=MAX_ID, value=shown(value))
    return value


def _time(value: Any) -> Any:
    """Unix seconds, of a number or of ISO 8601 text."""
    if isinstance(value, str):
        try:
            value = parse_time(value)
        except (ValueError, OverflowError):
            text = "{value} is no time; write Unix seconds, or ISO 8601 with Z or an offset: 2030-01-31T08:00:00Z"
            raise problem(text, value=shown(value)) from None
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < _LAST_TIME:
        raise problem("{value} lies outside of what a time can be; write Unix seconds", value=shown(value))
    return value


def _parameters(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None:
        return None
    try:
        size = len(strict.dumps(value).encode())
    except strict.NotStrict as error:
        raise problem("must be strict JSON: {why}", why=str(error)) from error
    if size > MAX_PARAMETERS:
        raise problem("is {size} bytes as JSON; at most {limit} are taken", size=size, limit=MAX_PARAMETERS)
    return value


def _args(value: list[str] | None) -> list[str] | None:
    for arg in value or ():
        if "\0" in arg:
            raise problem("{value} holds a NUL byte, which no program can be given", value=shown(arg))
    size = sum(len(arg.encode(errors="replace")) + 1 for arg in value or ())
    if size > MAX_ARGS:
        raise problem("is {size} bytes in all; at most {limit} are taken; use parameters", size=size, limit=MAX_ARGS)
    return value


def _labels(value: dict[str, str] | None) -> dict[str, str] | None:
    if value is None:
        return None
    if len(value) > MAX_LABELS:
        raise problem("holds {count} labels; at most {limit} are taken", count=len(value), limit=MAX_LABELS)
    for name, text in value.items():
        if not name or ":" in name or len(name) > MAX_ID or len(text) > MAX_ID:
            raise problem(
                "label {name} is not 1 to {limit} characters without ':', or its value is longer",
                name=shown(name),
                limit=MAX_ID,
            )
    return value


def _script(value: str) -> str:
    checked(Reference.parse)(value)
    return value


def _rate(value: str | None) -> str | None:
    if value is not None:
        checked(parse_rate)(value)
    return value


def _retry(value: Any) -> Any:
    """A bare number is how many more times: 2 means up to three attempts."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return {"max_attempts": value + 1} if whole else value


Seconds = Annotated[float, BeforeValidator(checked(parse_duration))]
Duration = Annotated[Seconds, AfterValidator(_above_zero)]
Size = Annotated[int, BeforeValidator(checked(parse_size)), AfterValidator(_above_zero)]
Count = Annotated[int, AfterValidator(_above_zero)]
Time = Annotated[float, BeforeValidator(_time)]
Key = Annotated[str, AfterValidator(_key)]
QueueName = Annotated[str, AfterValidator(_queue)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class LimitsRequest(_Model):
    """What one attempt may use. Sizes: bytes, or text such as 512MB; durations: seconds, or text such as 1m30s."""

    memory: Size | None = Field(None, description="memory of the whole process tree")
    cpu: Duration | None = Field(None, description="CPU time")
    processes: Count | None = Field(None, description="processes and threads at one time")
    open_files: Count | None = Field(None, description="open files of one process")
    disk: Size | None = Field(None, description="bytes in the scratch folder")
    output: Size | None = Field(None, description="bytes printed")


class RetryRequest(_Model):
    """When a failed attempt is followed by another: exponential backoff with full jitter."""

    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1
    delay: Seconds = Field(1.0, description="the first wait is drawn from 0 to this")
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_delay: Seconds = 300.0
    on: list[Annotated[Cause, Field(strict=False)]] | None = Field(None, description="causes that are tried again")


class JobRequest(_Model):
    """A job: which script, with what, and how. What is left out, the script's manifest or the worker decides."""

    script: Annotated[str, AfterValidator(_script)] = Field(description="NAME, or NAME@VERSION")
    version: str | None = None
    parameters: Annotated[dict[str, Any] | None, AfterValidator(_parameters)] = Field(
        None, description="a JSON object, at most 1 MiB; left out, the script is run without --parameters"
    )
    args: Annotated[list[str] | None, AfterValidator(_args)] = Field(None, description="plain arguments instead")
    queue: QueueName | None = None
    priority: Annotated[int, AfterValidator(_priority)] | None = Field(None, description="0 to 9, 9 is most urgent")
    run_at: Time | None = Field(None, description="not before: ISO 8601, or Unix seconds")
    delay: Seconds | None = Field(None, description="not before this long from now")
    timeout: Duration | None = Field(None, description="wall time of one attempt")
    limits: LimitsRequest | None = None
    required_memory: Size | None = Field(None, description="what a worker must have free to take the job")
    retry: Annotated[RetryRequest | None, BeforeValidator(_retry)] = Field(
        None, description="how often a failed run is tried again, or a rule", json_schema_extra={"examples": [2]}
    )
    unique: Key | None = Field(None, description="no other job with this key until this one has ended")
    labels: Annotated[dict[str, str] | None, AfterValidator(_labels)] = None
    result: ResultMode | None = Field(None, description="what counts as the result")
    expires: Duration | None = Field(None, description="not started later than this long after it was due")
    on_lost: OnLost | None = Field(None, description="retry (default) or fail when the worker is lost under it")
    key: Key | None = Field(
        None, description="jobs of one key share concurrency and rate; {params.url|domain} and the like are filled in"
    )
    concurrency: Count | None = Field(None, description="how many jobs of the key run at one time")
    rate: Annotated[str | None, AfterValidator(_rate)] = Field(None, description="how many start in a time: 10/min")
    share: Key | None = Field(
        None, description="for whom it is: a fair queue serves these in turn; filled in as key is"
    )

    @field_validator("version")
    @classmethod
    def _said_once(cls, version: str | None, info: ValidationInfo) -> str | None:
        script = info.data.get("script")
        if version is not None and script is not None:
            if "@" in script:
                raise problem("cannot be given when script names a version, too: {script}", script=script)
            checked(Reference.parse)(f"{script}@{version}")
        return version

    @field_validator("delay")
    @classmethod
    def _one_start(cls, delay: float | None, info: ValidationInfo) -> float | None:
        if delay is not None and info.data.get("run_at") is not None:
            raise problem("cannot be given together with run_at")
        return delay

    @property
    def reference(self) -> Reference:
        """The script that is asked for."""
        return Reference.parse(f"{self.script}@{self.version}" if self.version else self.script)

    def due(self, now: float) -> float | None:
        """When it may start, by a clock that says `now`; None: at once."""
        if self.delay:
            return now + self.delay
        return self.run_at
