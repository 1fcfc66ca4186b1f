"""From what a caller says to a request or a query, and from an ended job to its value."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pumasi.core.job import Job, Query, State
from pumasi.core.times import MICROSECOND, parse_time
from pumasi.errors import Invalid, JobFailed
from pumasi.intake import JobRequest
from pumasi.intake.fields import bad_fields
from pumasi.views import result_value


def requested(script: str, parameters: Mapping[str, Any] | None, options: Mapping[str, Any]) -> JobRequest:
    """The request. Raises: BadFields."""
    fields = {name: _as_json(value) for name, value in options.items() if value is not None}
    if parameters is not None:
        fields["parameters"] = dict(parameters)
    try:
        return JobRequest.model_validate({"script": script, **fields})
    except ValidationError as error:
        raise bad_fields(error.errors(include_url=False)) from error


def queried(
    state: str | Sequence[str], since: float | str | None, labels: Mapping[str, str] | None, **rest: Any
) -> Query:
    """The query. Raises: Invalid."""
    names = (state,) if isinstance(state, str) else tuple(state)
    unknown = [name for name in names if name not in list(State)]
    if unknown:
        raise Invalid("{value!r} is no state; there are {known}", value=unknown[0], known=", ".join(State))
    try:
        start = parse_time(since) - MICROSECOND if isinstance(since, str) else since
    except ValueError:
        raise Invalid("{value!r} is no ISO 8601 time with Z or an offset", value=since) from None
    return Query(states=tuple(State(name) for name in names), since=start, labels=dict(labels or {}), **rest)


def outcome(job: Job) -> Any:
    """The value of a completed job's result. Raises: JobFailed, about any other ending."""
    if job.state is State.COMPLETED:
        return result_value(job)
    raise JobFailed(id=job.id, state=job.state.value, cause=job.cause and job.cause.value, error=job.error, job=job)


def _as_json(value: Any) -> Any:
    """What JSON would have made of it: a tuple is as good as a list."""
    return list(value) if isinstance(value, tuple) else value
