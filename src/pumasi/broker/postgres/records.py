"""Records of jobs as the tables have them: in, and out."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from pumasi.broker.postgres import gate
from pumasi.broker.postgres.connection import Row
from pumasi.core.job import Job, KeyLimit, Progress, State
from pumasi.errors import Invalid

#: what "for nobody in particular" is called where shares are digests
NO_SHARE = "00000000-0000-0000-0000-000000000000"

_encode = msgspec.json.Encoder().encode
_job = msgspec.json.Decoder(Job)
_progress = msgspec.json.Decoder(Progress)


def encode(value: object) -> bytes:
    """As JSON. Raises: Invalid."""
    try:
        return _encode(value)
    except UnicodeEncodeError as error:
        raise Invalid(gate.NO_TEXT) from error


def record(row: Row) -> Job:
    """The record that a row of the view `record` means: its text, overruled by the columns."""
    _, _, text, state, attempt, worker, claim_id, token, until, claimed, started, progress, created, run, *place = row
    job = _job.decode(text)
    changes: dict[str, Any] = {
        "attempt": attempt,
        "started_at": started,
        "progress": decoded_progress(progress),
        "created_at": created,
        "run_at": run,
        "revision": place[0],
        "change": place[1],
    }
    if state == State.RUNNING:
        changes |= {
            "state": State.RUNNING,
            "worker": worker,
            "claim_id": claim_id,
            "token": token,
            "lease_until": until,
            "claimed_at": claimed,
        }
    return replace(job, **changes)


def decoded_progress(text: bytes | None) -> Progress | None:
    """The progress that is kept as that text."""
    return None if text is None else _progress.decode(text)


def digest(*parts: str) -> str:
    """Short, whatever it stands for: an index takes no long values, and a text of PostgreSQL not every character."""
    return hashlib.blake2b(encode(parts), digest_size=16).hexdigest()


def digest_or_none(kind: str, text: str | None) -> str | None:
    """The same for what may be missing."""
    return None if text is None else digest(kind, text)


def key_of(limit: KeyLimit) -> str:
    """What the key of a keyed limit is called in the tables."""
    return digest("key", limit.key)


def shown(text: str) -> str:
    """A text as a column has it; the record keeps it as it was."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def lanes(jobs: Sequence[Job]) -> dict[str, list[Any]]:
    """The lanes that waiting jobs stand in, as arrays: each lane once, and which lane each job stands in, if any."""
    known: dict[tuple[Any, ...], tuple[str, list[float]]] = {}
    of_jobs: list[str | None] = []
    for job in jobs:
        if job.state is not State.PENDING:
            of_jobs.append(None)
            continue
        alike = (job.queue, job.priority, job.required_memory, job.share, job.limit)
        lane, run_ats = known.setdefault(alike, (digest("lane", encode(alike).decode()), []))
        of_jobs.append(lane)
        run_ats.append(job.run_at)
    rows = [
        (lane, *_columns(alike), min(filter(None, run_ats), default=None), 0.0 in run_ats)
        for alike, (lane, run_ats) in known.items()
    ]
    return {"job_lanes": of_jobs} | {name: [row[n] for row in rows] for n, name in enumerate(_LANE)}


#: what is told of a lane
_LANE = (
    "lanes",
    "lane_queues",
    "priorities",
    "memories",
    "shares",
    "keys",
    "concurrencies",
    "counts",
    "periods",
    #: when its first job is due, and whether one is due at once
    "heads",
    "at_once",
)


def _columns(alike: tuple[Any, ...]) -> tuple[Any, ...]:
    queue, priority, memory, share, limit = alike
    keyed = (key_of(limit), limit.concurrency, limit.count, limit.period) if limit else (None, None, None, None)
    return queue, priority, memory, digest("share", share) if share else NO_SHARE, *keyed
