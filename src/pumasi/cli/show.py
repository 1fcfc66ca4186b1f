"""`pumasi show ID`: everything about a job; of one that waits, why."""

import asyncio
import json as _json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pumasi.cli import OK
from pumasi.cli.options import Id, Json, Url
from pumasi.cli.output import clock, print_facts, print_json
from pumasi.locale import gettext as _
from pumasi.units import format_duration, format_size

if TYPE_CHECKING:
    from pumasi.client import AsyncClient
    from pumasi.core.job import Job

#: pending and running jobs looked at to say how many are ahead
_LOOKED_AT = 1000
_MAX_RESULT = 4000


def command(id: Id, json: Json = False, url: Url = None) -> int:
    return asyncio.run(_show(id, as_json=json, url=url))


async def _show(id: str, *, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load
    from pumasi.views import job_view

    async with connected(load(), url) as client:
        job = await client.get(id)
        reasons = await _why(client, job)
    if as_json:
        print_json(job_view(job) | ({"waiting": reasons} if reasons else {}))
        return OK
    print_facts(_facts(job, reasons))
    return OK


async def _why(client: "AsyncClient", job: "Job") -> list[str]:
    from pumasi.core.job import State
    from pumasi.why import why_waiting

    if job.state is not State.PENDING:
        return []
    queues, workers = await client.queues(), await client.workers()
    waiting = await client.find(state="pending", queue=job.queue, limit=_LOOKED_AT)
    running = await client.find(state="running", limit=_LOOKED_AT)
    return why_waiting(
        job,
        now=time.time(),
        queue=next((queue for queue in queues if queue.name == job.queue), None),
        workers=workers,
        others=[*waiting.jobs, *running.jobs],
        more=waiting.cursor is not None,
    )


def _facts(job: "Job", reasons: list[str]) -> Iterator[tuple[str, Any]]:
    from pumasi.cli import report

    yield _("id"), job.id
    yield _("script"), job.reference
    yield _("state"), report.headline(job) if job.ended else job.state.value
    yield _("it waits"), "\n".join(reasons)
    yield _("progress"), _progress(job)
    yield _("result"), _result(job)
    if job.ended or job.cause:
        yield from report.facts(job)
    yield _("dead letter"), _resolved(job)
    yield _("cancel"), _("asked for") if job.cancel_requested and not job.ended else None
    yield from _asked(job)
    yield from _history(job)


def _asked(job: "Job") -> Iterator[tuple[str, Any]]:
    yield _("parameters"), job.parameters and _json.dumps(_json.loads(job.parameters), ensure_ascii=False)
    yield _("arguments"), _json.dumps(job.args, ensure_ascii=False) if job.args is not None else None
    yield _("queue"), _("{queue}, priority {priority}").format(queue=job.queue, priority=job.priority)
    yield _("labels"), ", ".join(f"{name}={value}" for name, value in job.labels.items())
    yield _("time limit"), job.timeout and format_duration(job.timeout)
    yield _("required memory"), format_size(job.required_memory)
    if job.retry.max_attempts > 1:
        yield _("attempts allowed"), job.retry.max_attempts
    yield _("on lost worker"), job.on_lost if job.on_lost != "retry" else None
    yield _("limit"), job.limit and _limit(job)
    yield _("share"), job.share
    yield _("unique key"), job.unique
    yield _("retry of"), job.parent
    yield _("external id"), job.external_id
    yield _("content"), job.digest and job.digest[:16]


def _history(job: "Job") -> Iterator[tuple[str, Any]]:
    yield _("submitted"), clock(job.created_at)
    yield _("due"), clock(job.run_at) if job.run_at > job.created_at + 1 else None
    yield _("expires"), clock(job.expires_at)
    yield _("claimed"), clock(job.claimed_at)
    yield _("started"), clock(job.started_at)
    yield _("ended"), clock(job.ended_at)
    yield _("took"), ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in job.phases.items())
    yield _("attempt"), job.attempt or None
    yield _("workers lost"), job.deaths or None
    yield _("worker"), job.worker
    yield _("isolation"), job.isolation
    yield _("left open"), ", ".join(job.openings)
    yield _("files"), ", ".join(job.artifacts)


def _resolved(job: "Job") -> str | None:
    """Whether somebody has looked after a failed job."""
    words = {"requeued": _("requeued"), "discarded": _("discarded")}
    return _("nobody has looked after it; see `pumasi dead`") if job.dead else words.get(job.resolved or "")


def _progress(job: "Job") -> str | None:
    from pumasi.cli.follow import progress_bar

    if job.progress is None or job.ended:
        return None
    said = [job.progress.done, job.progress.total, job.progress.note]
    return progress_bar(_json.dumps(said).encode())


def _result(job: "Job") -> str | None:
    if job.result is None:
        return None
    if len(job.result) > _MAX_RESULT:
        text = _("{size}; `pumasi show {id} --json` prints it")
        return text.format(size=format_size(len(job.result.encode())), id=job.id)
    return _json.dumps(_json.loads(job.result), ensure_ascii=False, indent=2)


def _limit(job: "Job") -> str:
    assert job.limit is not None
    parts = [repr(job.limit.key)]
    if job.limit.concurrency is not None:
        parts.append(_("{count} at a time").format(count=job.limit.concurrency))
    if job.limit.count is not None:
        period = format_duration(job.limit.period)
        parts.append(_("{count} per {period}").format(count=job.limit.count, period=period))
    return ", ".join(parts)
