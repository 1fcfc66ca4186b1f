"""A request as other programs write it, and the reply that they read. Pure.

    {request_id, script_name, script_version, parameters, timeout, created_at, priority, queue, run_at, max_attempts}
    {request_id, status, data, error, execution_time, completed_at}

Readers compute `datetime.now() - datetime.fromisoformat(x)`: times are written in a zone, without its offset; what
comes in without one is read in it. Status words are pending, running, completed and failed: a cancelled job has failed
there.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from math import isfinite
from typing import Any, TypeGuard

from pumasi.core import strict
from pumasi.core.bounds import MAX_INTEGER, checked
from pumasi.core.ids import new_id
from pumasi.core.job import MAX_ID, Job, Retry, State
from pumasi.errors import Invalid

#: bytes of a result that a reply carries
MAX_DATA = 8 * 1024 * 1024
#: what we add to a request that is kept; a field of that name in it is ignored
_OURS = ("status", "worker_id", "started_at")


def read(raw: bytes) -> dict[str, Any]:
    """The request that some bytes are. Raises: Invalid."""
    try:
        value = strict.loads(raw)
    except ValueError as error:
        raise Invalid("the request is no JSON: {why}", why=str(error)) from error
    if not isinstance(value, dict):
        raise Invalid("the request must be a JSON object")
    return {name: field for name, field in value.items() if name not in _OURS}


def requested(request: Mapping[str, Any], zone: tzinfo | None) -> Job:
    """The job that a request asks for; it names a script, and no content of it. Raises: Invalid, naming the field."""
    id = _text(request, "request_id") or new_id()
    if len(id) > MAX_ID:
        raise Invalid("request_id has at most {limit} characters", limit=MAX_ID)
    name = _text(request, "script_name")
    if not name:
        raise Invalid("the request names no script: give it a script_name")
    if "/" in name:
        raise Invalid("script_name is the name of a script, never a path; not {value}", value=_shown(name))
    due = _time(request, "run_at", zone)
    return checked(
        Job(
            id=new_id(),
            external_id=id,
            script=name,
            version=_text(request, "script_version") or None,
            parameters=strict.dumps(_parameters(request)),
            queue=_text(request, "queue") or "default",
            priority=min(int(_number(request, "priority", 0, least=0)), 9),
            run_at=0.0 if due is None else due,
            # left out, the script's manifest says, or the worker's setting
            timeout=None if request.get("timeout") is None else _number(request, "timeout", 0.0, least=0.001),
            retry=Retry(max_attempts=int(_number(request, "max_attempts", 1, least=1))),
        )
    )


def reply(job: Job, result: str | None, zone: tzinfo | None) -> dict[str, Any]:
    """What is told of a job that has ended; `result` is its result as JSON text."""
    completed, error = job.state is State.COMPLETED, job.error or ""
    data = None
    if completed and result is not None and len(result.encode()) > MAX_DATA:
        completed = False
        error = f"output: the result has {len(result.encode())} bytes; {MAX_DATA} are carried at most"
    elif completed and result is not None:
        data = json.loads(result)
    if job.state is State.CANCELLED and not error.startswith("cancelled"):
        error = f"cancelled: {error}".rstrip(": ")
    return {
        "request_id": job.external_id,
        "status": "completed" if completed else "failed",
        "data": data,
        "error": None if completed else error or _sentence(job),
        "execution_time": max(0.0, (job.ended_at or 0.0) - job.started_at) if job.started_at else 0.0,
        "completed_at": written(job.ended_at or 0.0, zone),
    }


def written(at: float, zone: tzinfo | None) -> str:
    """A time as other programs read it: in the zone (None: the host's), without an offset."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).replace(tzinfo=None).isoformat()


def _sentence(job: Job) -> str:
    if job.exit_code is not None:
        return f"the script ended with exit code {job.exit_code}"
    return str(job.cause.value if job.cause else "failed")


def _text(request: Mapping[str, Any], name: str) -> str | None:
    value = request.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid("{name} is a text, not {value}", name=name, value=_shown(value))
    return value


def _parameters(request: Mapping[str, Any]) -> dict[str, Any]:
    value = request.get("parameters")
    if value is not None and not isinstance(value, dict):
        raise Invalid("parameters are a JSON object, not {value}", value=_shown(value))
    return value or {}


def _number(request: Mapping[str, Any], name: str, default: float, *, least: float) -> float:
    value = request.get(name)
    if value is None:
        return default
    if not _is_number(value):
        raise Invalid("{name} is a number, not {value}", name=name, value=_shown(value))
    if not least <= value <= MAX_INTEGER:
        raise Invalid("{name} is at least {least:g}, not {value}", name=name, least=least, value=_shown(value))
    return value


def _time(request: Mapping[str, Any], name: str, zone: tzinfo | None) -> float | None:
    value = request.get(name)
    if value is None or _is_number(value):
        return None if value is None else float(value)
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo or zone is None else at.replace(tzinfo=zone)).timestamp()
    except (TypeError, ValueError, OverflowError):  # the zone may carry it out of the years there are
        text = "{name} is a time such as 2030-01-31T08:00:00, not {value}"
        raise Invalid(text, name=name, value=_shown(value)) from None


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return isfinite(float(value))
    except OverflowError:
        return False


def _shown(value: object) -> str:
    return repr(value)[:80]
