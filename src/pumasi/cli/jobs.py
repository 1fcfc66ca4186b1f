"""`pumasi jobs`: which jobs there are, newest first."""

import asyncio
import json as _json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumasi.cli import OK, request
from pumasi.cli.follow import progress_bar
from pumasi.cli.options import Json, Url
from pumasi.cli.output import ago, print_json, print_table, say, shortened, write
from pumasi.locale import gettext as _
from pumasi.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumasi.core.job import Job


def command(
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            "-s",
            metavar="STATE",
            help=_("pending, running, completed, failed or cancelled; may be repeated."),
        ),
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help=_("Of this queue."))] = None,
    script: Annotated[str | None, typer.Option("--script", metavar="NAME", help=_("Of this script."))] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help=_("With this label.")),
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", metavar="ID", help=_("Retries of this job."))] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help=_("Submitted since then: 2h, or 2030-01-31T08:00:00Z.")),
    ] = None,
    limit: Annotated[
        str | None, typer.Option("--limit", "-n", metavar="N", help=_("At most so many; 50 when left out."))
    ] = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help=_("Go on where an earlier list ended."))
    ] = None,
    json: Json = False,
    url: Url = None,
) -> int:
    filters = {
        "state": request.states(state),
        "queue": queue,
        "script": script,
        "labels": request.labels(label),
        "parent": parent,
        "since": request.since(since),
        "limit": request.number("--limit", limit) or 50,
        "cursor": cursor,
    }
    given = {name: value for name, value in filters.items() if value}
    return asyncio.run(_list(given, as_json=json, url=url))


async def _list(filters: dict[str, Any], *, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load
    from pumasi.views import page_view

    async with connected(load(), url) as client:
        page = await client.find(**filters)
    if as_json:
        print_json(page_view(page))
        return OK
    if not page.jobs:
        say(_("no jobs"))
        return OK
    print_jobs(page.jobs)
    write("")
    write(", ".join(f"{state} {count}" for state, count in page.totals.items() if count))
    if page.cursor:
        say(_("there are more: --cursor {cursor}").format(cursor=page.cursor))
    return OK


def headings() -> tuple[str, ...]:
    """The headings of a table of jobs."""
    return (_("id"), _("script"), _("state"), _("queue"), _("submitted"), _("ran"), _("note"))


def print_jobs(jobs: "Sequence[Job]") -> None:
    """A table of jobs."""
    print_table(headings(), rows(jobs), right=(5,))


def rows(jobs: "Sequence[Job]") -> list[tuple[str | None, ...]]:
    """The cells of that table; ids shortened to what is unique among them."""
    now, short = time.time(), shortened([job.id for job in jobs])
    return [
        (short[job.id], job.reference, job.state.value, job.queue, ago(job.created_at, now), _ran(job, now), note(job))
        for job in jobs
    ]


def _ran(job: "Job", now: float) -> str | None:
    if job.started_at is None or not (job.ended or job.state.value == "running"):
        return None
    return format_duration(max(0.0, (job.ended_at or now) - job.started_at))


def note(job: "Job") -> str | None:
    """What is worth saying of it in a few words: why it failed, how far it is, when it is due."""
    if job.cause is not None and job.state.value != "completed":
        error = (job.error or "").strip().splitlines()
        last = error[-1] if error else ""
        said = last if last.startswith(job.cause.value) else f"{job.cause.value}: {last}"
        return said.rstrip(": ")[:100]
    if job.progress is not None and job.state.value == "running":
        told = [job.progress.done, job.progress.total, job.progress.note]
        return progress_bar(_json.dumps(told).encode(), columns=60)
    if job.state.value == "pending" and job.run_at > time.time():
        return _("due in {duration}").format(duration=format_duration(job.run_at - time.time()))
    return None
