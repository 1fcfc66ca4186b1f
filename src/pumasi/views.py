"""The public form of records: what HTTP, `--json` and the clients show, and the way back.

Times are ISO 8601 in UTC with `Z`, durations seconds, sizes bytes. What only broker and worker need (tokens, leases,
keys of the store) is left out. Results and parameters are user's JSON: they are spliced in, not described.
"""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw, Struct, convert

from pumasi.core.job import Event, Job, Page, Queue, Record, Stats, Worker
from pumasi.core.times import format_time, parse_time

#: fields shown under `times`, as ISO 8601
_TIMES = ("created_at", "run_at", "expires_at", "claimed_at", "started_at", "ended_at")
#: fields shown as they are
_PLAIN = (
    "id", "script", "version", "digest", "queue", "priority", "labels", "error", "exit_code", "signal", "attempt",
    "retries_used", "deaths", "fetch_faults", "sandbox_faults", "timeout", "required_memory", "result_mode", "on_lost",
    "isolation", "openings", "warnings", "log_tail", "artifacts", "parent", "unique", "external_id", "worker",
    "cancel_requested", "result_size", "change", "share", "resolved",
)  # fmt: skip
#: fields shown with all that they are made of
_PARTS = ("peaks", "retry", "limit", "progress")


def job_view(job: Job, result_text: str | None = None, *, splice: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """The public form of a job. `result_text` is its result as JSON text, when that was fetched from the blob store;
    `splice` makes of a JSON text what stands in the view (`raw` keeps every digit)."""
    text = job.result if result_text is None else result_text
    return {
        "id": job.id,
        "state": job.state.value,
        "result": None if text is None else splice(text),
        "cause": job.cause and job.cause.value,
        "parameters": None if job.parameters is None else splice(job.parameters),
        "args": None if job.args is None else list(job.args),
        "times": _times(job),
        **{name: _whole(getattr(job, name)) for name in (*_PLAIN, *_PARTS)},
        #: what a run was held to, as soon as one has ended; until then what was asked for
        "limits": _whole(job.limits if job.isolation is None else job.enforced),
        "requested_limits": _whole(job.limits),
    }


def job_from_view(view: Mapping[str, Any]) -> Job:
    """The record a view was made of, as far as it shows it; the result, where there is one, is inline."""
    times = _plain(view["times"])
    fields = {name: _plain(view[name]) for name in (*_PLAIN, *_PARTS, "state", "cause", "args") if name in view}
    fields |= {name: parse_time(times[name]) for name in _TIMES if times.get(name)}
    fields["limits"] = _plain(view["requested_limits"])
    fields["enforced"] = _plain(view["limits"]) if fields["isolation"] else None
    fields |= {"parameters": _text(view["parameters"]), "phases": times.get("phases", {})}
    if fields["state"] == "completed":
        fields["result"] = _text(view["result"])
    return convert({name: value for name, value in fields.items() if value is not None}, Job)


def result_value(job: Job) -> Any:
    """The value of a completed job's result; None when it has none."""
    return None if job.result is None else json.loads(job.result)


def page_view(page: Page, *, splice: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """`{jobs, cursor, totals}`; a result too large for the record is null here, and `result_size` tells."""
    return {
        "jobs": [job_view(job, splice=splice) for job in page.jobs],
        "cursor": page.cursor,
        "totals": page.totals,
    }


def event_view(event: Event, *, splice: Callable[[str], Any] = json.loads) -> dict[str, Any]:
    """`{change, job}`."""
    return {"change": event.change, "job": job_view(event.job, splice=splice)}


def record_view(record: Record) -> dict[str, Any]:
    """A log record: its `text`, and the bytes themselves in `base64` when they are not UTF-8."""
    text = record.data.decode(errors="replace")
    view = {
        "seq": record.seq,
        "attempt": record.attempt,
        "time": format_time(record.time),
        "stream": record.stream,
        "text": text,
    }
    exact = text.encode() == record.data
    return view if exact else view | {"base64": base64.b64encode(record.data).decode()}


def record_from_view(view: Mapping[str, Any]) -> Record:
    """The record a view was made of."""
    data = base64.b64decode(view["base64"]) if "base64" in view else view["text"].encode()
    return Record(view["seq"], parse_time(view["time"]), view["stream"], data)


def worker_view(worker: Worker) -> dict[str, Any]:
    """A worker, with its times in words."""
    view: dict[str, Any] = _whole(worker)
    return view | {name: format_time(view[name]) for name in ("started_at", "seen_at")}


def worker_from_view(view: Mapping[str, Any]) -> Worker:
    """The worker a view was made of."""
    return convert({**view, **{name: parse_time(view[name]) for name in ("started_at", "seen_at")}}, Worker)


def queue_view(queue: Queue) -> dict[str, Any]:
    """A queue, as it is."""
    view: dict[str, Any] = _whole(queue)
    return view


def stats_view(stats: Stats) -> dict[str, Any]:
    """`{jobs: [{state, script, cause, count}], totals: {state: count}, queues, workers}`."""
    totals: dict[str, int] = {}
    for state, _, _, count in stats.jobs:
        totals[state] = totals.get(state, 0) + count
    return {
        "jobs": [
            {"state": state, "script": script, "cause": cause or None, "count": count}
            for state, script, cause, count in stats.jobs
        ],
        "totals": totals,
        "queues": [queue_view(queue) for queue in stats.queues],
        "workers": [worker_view(worker) for worker in stats.workers],
    }


def stats_from_view(view: Mapping[str, Any]) -> Stats:
    """The stats a view was made of."""
    return Stats(
        jobs=tuple((row["state"], row["script"], row["cause"] or "", row["count"]) for row in view["jobs"]),
        queues=convert(view["queues"], tuple[Queue, ...]),
        workers=tuple(worker_from_view(worker) for worker in view["workers"]),
    )


def raw(text: str) -> Raw:
    """A JSON text that an encoder copies as it stands."""
    return Raw(text.encode())


def _times(job: Job) -> dict[str, Any]:
    begun = job.started_at or job.claimed_at
    return {
        **{name: format_time(time) if (time := getattr(job, name)) else None for name in _TIMES},
        #: from being due to its last claim, and from that start to its end
        "wait": max(0.0, job.claimed_at - job.run_at) if job.claimed_at else None,
        "run": max(0.0, job.ended_at - begun) if job.ended_at and begun else None,
        "phases": job.phases,
    }


def _whole(value: Any) -> Any:
    """A value as JSON has it; of a structure also the fields that stand at their default."""
    if isinstance(value, Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return [_whole(item) for item in value] if isinstance(value, tuple) else value


def _plain(value: Any) -> Any:
    return json.loads(bytes(value)) if isinstance(value, Raw) else value


def _text(value: Any) -> str | None:
    """The JSON text of a spliced value; null is none."""
    text = (
        bytes(value).decode()
        if isinstance(value, Raw)
        else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    return None if text == "null" else text
