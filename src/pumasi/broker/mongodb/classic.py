"""The documents of other programs, as jobs: what one asks for, and how one is made.

    {_id, request_name, status, created_at, updated_at, scheduled_date, python_path, python_args, required_memory (MB),
     logs: [text]}, and `timeout` (s), `max_attempts` where it has them

Here nothing is asked and nothing stored. `inlet` takes documents in, `outlet` tells them what became of their job in
the words of `wording`. Ours in a document is the sub-document `pumasi`: {job, ended: how often its job has ended,
attempt, token, worker, lease_until}, the last three only while it runs. A document that somebody sets to pending again
when its job has ended is another job.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import bson
from bson import ObjectId
from msgspec import Struct

from pumasi.core.bounds import MAX_INTEGER, checked
from pumasi.core.job import MAX_ID, Job, Retry
from pumasi.errors import Invalid

#: where they are, unless a URL says it
DATABASE = "job_db"
COLLECTION = "jobs"
#: the queue of jobs that are documents
QUEUE = "mongo"
PENDING, RUNNING, COMPLETED, FAILED = "pending", "running", "completed", "failed"
#: what a job needs whose document does not say, in MB
MEMORY = 128
MB = 1024 * 1024
#: bytes of a document that we add to
MAX_DOCUMENT = 8 * MB

#: the fields that are read; its logs may be large
FIELDS = (
    "request_name", "status", "created_at", "scheduled_date", "python_path", "python_args", "required_memory",
    "timeout", "max_attempts", "pumasi",
)  # fmt: skip


class Entry(Struct, frozen=True):
    """A document that can be run."""

    #: its `_id`
    key: Any
    #: the id of the job that it is
    id: str
    #: how often its job has ended before
    ended: int
    attempt: int
    created: float
    due: float
    #: as the document has it
    memory: int | float | None
    #: the job, as asked for
    job: Job


def entry(document: Mapping[str, Any], now: float) -> Entry:
    """What a document asks for. Raises: Invalid, with the field that is wrong."""
    created = _time(document, "created_at")
    created = now if created is None else min(max(created, 0.0), now)
    scheduled = _time(document, "scheduled_date")
    due = created if scheduled is None else max(scheduled, 0.0)
    key, ended = document["_id"], times_ended(document)
    id = job_id(key, ended)
    job = Job(
        id=id,
        script=_path(document),
        args=_args(document),
        queue=QUEUE,
        created_at=created,
        run_at=due,
        timeout=_timeout(document),
        required_memory=_memory(document),
        result_mode="none",
        retry=Retry(max_attempts=_attempts(document)),
        labels=_labels(document),
        external_id=str(key)[:MAX_ID],
    )
    mark = mark_of(document)
    attempt = int(mark["attempt"]) if mark.get("job") == id and isinstance(mark.get("attempt"), int) else 0
    return Entry(key, id, ended, attempt, created, due, document.get("required_memory"), checked(job))


def job_id(key: Any, ended: int) -> str:
    """The id of the job that a document is, once its job has ended so often before. An ObjectId is an id as it is."""
    name = str(key) if isinstance(key, ObjectId) else f"doc-{hashlib.sha256(packed(key)).hexdigest()[:32]}"
    return f"{name}-{ended + 1}" if ended else name


def packed(key: Any) -> bytes:
    """An `_id` of any type, as bytes."""
    return bson.encode({"_id": key})


def unpacked(data: bytes) -> Any:
    """The `_id` again."""
    return bson.decode(data)["_id"]


def mark_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is ours in a document."""
    mark = document.get("pumasi")
    return mark if isinstance(mark, Mapping) else {}


def times_ended(document: Mapping[str, Any]) -> int:
    """How often its job has ended."""
    ended = mark_of(document).get("ended")
    return ended if isinstance(ended, int) and 0 <= ended < 2**31 else 0


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether it runs with us; what another program has set to running has no token."""
    return document.get("status") == RUNNING and isinstance(mark_of(document).get("token"), str)


def may_be(job: Job) -> bool:
    """Whether a job may be a document; its record knows."""
    return job.queue == QUEUE


# -- what is read -------------------------------------------------------------------------------------------------


def _path(document: Mapping[str, Any]) -> str:
    path = document.get("python_path")
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise Invalid("python_path is the path of a script, not {value}", value=_shown(path))
    return path


def _args(document: Mapping[str, Any]) -> tuple[str, ...]:
    args = document.get("python_args")
    args = [] if args is None else args
    if not isinstance(args, list) or not all(isinstance(arg, str) and "\0" not in arg for arg in args):
        raise Invalid("python_args is a list of texts, not {value}", value=_shown(args))
    return tuple(args)


def _memory(document: Mapping[str, Any]) -> int:
    memory = document.get("required_memory")
    memory = MEMORY if memory is None else memory
    if not _is_number(memory) or not 0 <= memory <= MAX_INTEGER // MB:
        raise Invalid("required_memory is a number of MB, not {value}", value=_shown(memory))
    return int(memory * MB)


def _timeout(document: Mapping[str, Any]) -> float | None:
    timeout = document.get("timeout")
    if timeout is None:
        return None
    if not _is_number(timeout) or not 0 < timeout <= MAX_INTEGER:
        raise Invalid("timeout is a number of seconds above 0, not {value}", value=_shown(timeout))
    return float(timeout)


def _attempts(document: Mapping[str, Any]) -> int:
    attempts = document.get("max_attempts")
    attempts = 1 if attempts is None else attempts
    if not _is_number(attempts) or attempts != int(attempts) or not 1 <= attempts <= 2**31:
        raise Invalid("max_attempts is a whole number of at least 1, not {value}", value=_shown(attempts))
    return int(attempts)


def _time(document: Mapping[str, Any], name: str) -> float | None:
    at = document.get(name)
    if at is None:
        return None
    if isinstance(at, bson.DatetimeMS):  # a date beyond those that Python has
        return int(at) / 1000
    if isinstance(at, str):
        with contextlib.suppress(ValueError):
            at = datetime.fromisoformat(at.strip())
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if not isinstance(at, datetime):
        raise Invalid("{name} is a date, not {value}", name=name, value=_shown(at))
    return at.timestamp()


def is_dated(document: Mapping[str, Any]) -> bool:
    """Whether its date is one to the server; an ISO text is a date to us (in UTC, as all dates there), not to it."""
    at = document.get("scheduled_date")
    return at is None or isinstance(at, datetime | bson.DatetimeMS)


def _labels(document: Mapping[str, Any]) -> dict[str, str]:
    name = document.get("request_name")
    return {"request_name": name[:MAX_ID]} if isinstance(name, str) and name else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _shown(value: object) -> str:
    return repr(value)[:80]


# -- how one is made ----------------------------------------------------------------------------------------------


def new(
    request_name: str,
    python_path: str,
    python_args: Sequence[str],
    required_memory: float,
    scheduled_date: datetime | None,
    now: float,
) -> dict[str, Any]:
    """A document that asks for a run. Raises: Invalid."""
    if not isinstance(request_name, str):
        raise Invalid("request_name is a text, not {value}", value=_shown(request_name))
    if isinstance(python_args, str):
        raise Invalid("python_args is a list of texts, not {value}", value=_shown(python_args))
    at = date(now)
    # a time without offset is this host's, as everywhere in Python; the driver would take it for UTC
    due = scheduled_date.astimezone(UTC) if isinstance(scheduled_date, datetime) else scheduled_date
    document = {
        "_id": ObjectId(),
        "request_name": request_name,
        "status": PENDING,
        "created_at": at,
        "updated_at": at,
        "scheduled_date": at if due is None else due,
        "python_path": python_path,
        "python_args": list(python_args),
        "required_memory": required_memory,
        "logs": [],
    }
    entry(document, now)
    if len(bson.encode(document)) > MAX_DOCUMENT:
        raise Invalid("the document is larger than {most} bytes; pass large data as a file", most=MAX_DOCUMENT)
    return document


def date(at: float) -> datetime:
    """A time, as documents have it."""
    return datetime.fromtimestamp(at, UTC)
