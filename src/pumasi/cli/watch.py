"""`pumasi watch`: jobs as they change, in a live table; a line for each change when standard output is no terminal.

With ids, those jobs only, until all of them have ended: exit code 0 when all completed, else 1.
"""

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumasi.cli import FAILED, OK, request
from pumasi.cli.options import Url
from pumasi.cli.output import console, rich_table, write
from pumasi.locale import gettext as _
from pumasi.terminal import printable

if TYPE_CHECKING:
    from pumasi.client import AsyncClient
    from pumasi.core.job import Job

#: ended jobs kept in the table, and lines left free below it
_KEPT = 200
_MARGIN = 5

DETAILS = _("With ids, only these jobs, until all of them have ended: exit code 0 when all completed, else 1.")


def command(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help=_("Jobs to see through to their end."), show_default=False)
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help=_("Of this queue."))] = None,
    script: Annotated[str | None, typer.Option("--script", metavar="NAME", help=_("Of this script."))] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", metavar="KEY=VALUE", help=_("With this label; may be repeated.")),
    ] = None,
    url: Url = None,
) -> int:
    chosen = {"queue": queue, "script": script, "labels": request.labels(label)}
    return asyncio.run(_watch(ids or [], {name: value for name, value in chosen.items() if value}, url=url))


async def _watch(ids: list[str], chosen: dict[str, Any], *, url: str | None) -> int:
    from pumasi.cli.target import connected, load

    async with connected(load(), url) as client:
        board = _Board(await _wanted(client, ids), chosen)
        for job in await _there(client, board.ids, chosen):
            board.put(job)
        with _Screen(board) as screen:
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(screen.tick())
                await _follow(client, board, screen)
                ticking.cancel()
    return OK if all(job.state.value == "completed" for job in board.jobs.values()) else FAILED


async def _wanted(client: "AsyncClient", ids: list[str]) -> frozenset[str]:
    return frozenset([(await client.get(id)).id for id in ids])


async def _there(client: "AsyncClient", ids: frozenset[str], chosen: dict[str, Any]) -> "list[Job]":
    if ids:
        return [await client.get(id) for id in ids]
    jobs: list[Job] = []
    for states in (("completed", "failed", "cancelled"), ("pending",), ("running",)):
        jobs += reversed((await client.find(state=states, limit=20, **chosen)).jobs)
    return jobs


async def _follow(client: "AsyncClient", board: "_Board", screen: "_Screen") -> None:
    """Until every job asked for has ended; without ids, for ever."""
    if board.done():
        return
    async for event in client.watch(queue=board.chosen.get("queue")):
        if board.wants(event.job):
            board.put(event.job)
            screen.changed(event.job)
            if board.done():
                return


class _Board:
    """The jobs in view, in the order in which they last changed."""

    def __init__(self, ids: frozenset[str], chosen: dict[str, Any]) -> None:
        self.ids = ids
        self.chosen = chosen
        self.jobs: dict[str, Job] = {}

    def done(self) -> bool:
        """Whether all jobs asked for by id have ended."""
        return bool(self.ids) and all(id in self.jobs and self.jobs[id].ended for id in self.ids)

    def wants(self, job: "Job") -> bool:
        """Whether a job is among those chosen."""
        if self.ids:
            return job.id in self.ids
        labels = self.chosen.get("labels", {})
        named = self.chosen.get("script") in (None, job.script)
        return named and all(job.labels.get(name) == value for name, value in labels.items())

    def put(self, job: "Job") -> None:
        """A job as it stands now."""
        self.jobs.pop(job.id, None)
        self.jobs[job.id] = job
        if not self.ids and len(self.jobs) > _KEPT:
            oldest = next((id for id, kept in self.jobs.items() if kept.ended), next(iter(self.jobs)))
            del self.jobs[oldest]

    def latest(self, count: int) -> "list[Job]":
        """Running jobs, then those that changed last."""
        jobs = list(reversed(self.jobs.values()))
        return sorted(jobs, key=lambda job: job.state.value != "running")[: max(1, count)]


class _Screen:
    """Shows the board: a live table on a terminal, else a line a change."""

    def __init__(self, board: _Board) -> None:
        self._board = board
        self._live: Any = None
        self._told: dict[str, tuple[Any, ...]] = {}

    def __enter__(self) -> "_Screen":
        if sys.stdout.isatty():
            from rich.live import Live

            self._console = console()
            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
            self._draw()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._draw()
            self._live.stop()

    def changed(self, job: "Job") -> None:
        """A job has changed."""
        if self._live is not None:
            self._draw()
            return
        from pumasi.cli.jobs import note

        # Progress makes a line for each tenth of the way, not for each step.
        share = int(10 * job.progress.done / job.progress.total) if job.progress and job.progress.total else 0
        news = (job.state, job.attempt, share)
        if self._told.get(job.id) == news:
            return
        self._told[job.id] = news
        parts = [time.strftime("%H:%M:%S"), job.id, job.reference, job.state.value, note(job) or ""]
        write(printable("  ".join(parts).rstrip(), lines=False))
        sys.stdout.flush()

    async def tick(self) -> None:
        """Once a second the table is drawn anew, since durations grow."""
        while self._live is not None:
            await asyncio.sleep(1.0)
            self._draw()

    def _draw(self) -> None:
        from rich.console import Group
        from rich.text import Text

        from pumasi.cli.jobs import headings, rows

        jobs = self._board.latest(self._console.size.height - _MARGIN)
        cells = [[printable(cell or "", lines=False) for cell in row] for row in rows(jobs)]
        counts: dict[str, int] = {}
        for job in self._board.jobs.values():
            counts[job.state.value] = counts.get(job.state.value, 0) + 1
        said = ", ".join(f"{state} {count}" for state, count in counts.items()) or _("no jobs yet")
        self._live.update(
            Group(rich_table(headings(), cells, right=(5,)), Text(), Text(said, style="dim")), refresh=True
        )
