"""`pumasi dead`: jobs that have failed for good, until somebody has looked after them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumasi.cli import OK, request
from pumasi.cli.cancel import for_each
from pumasi.cli.jobs import print_jobs
from pumasi.cli.options import Json, Param, Params, Url
from pumasi.cli.output import print_json, say, write
from pumasi.cli.show import command as show
from pumasi.cli.words import Command, Group
from pumasi.errors import Invalid
from pumasi.locale import gettext as _

if TYPE_CHECKING:
    from pumasi.client import AsyncClient
    from pumasi.core.job import Job

#: jobs that are asked for at once
_PAGE = 500

Queue = Annotated[str | None, typer.Option("--queue", "-q", metavar="NAME", help=_("Of this queue."))]
Script = Annotated[str | None, typer.Option("--script", metavar="NAME", help=_("Of this script."))]
Label = Annotated[list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help=_("With this label."))]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help=_("Submitted since then: 2h, or 2030-01-31T08:00:00Z."))
]
Chosen = Annotated[list[str] | None, typer.Argument(metavar="ID…", help=_("Ids of dead letters; beginnings will do."))]
All = Annotated[bool, typer.Option("--all", help=_("All that the filters mean, in place of ids."))]
Yes = Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask."))]


def build(app: typer.Typer) -> None:
    """`pumasi dead`, and the commands below it."""
    summary = _("Look after jobs that have failed for good: list, requeue, discard.")
    app.callback(cls=Group, invoke_without_command=True, help=summary)(_begin)
    app.command("list", cls=Command, help=_("List dead letters, newest first."))(_list)
    app.command("show", cls=Command, help=_("Show all about one."))(show)
    app.command("requeue", cls=Command, help=_("Run them again, each as a new job, perhaps with other parameters."))(
        _requeue
    )
    app.command("discard", cls=Command, help=_("Take them off the list; their records stay for a while."))(_discard)


def _begin(context: typer.Context) -> int:
    return OK if context.invoked_subcommand is not None else _list()


def _list(
    queue: Queue = None,
    script: Script = None,
    label: Label = None,
    since: Since = None,
    limit: Annotated[
        str | None, typer.Option("--limit", "-n", metavar="N", help=_("At most so many; 50 when left out."))
    ] = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help=_("Go on where an earlier list ended."))
    ] = None,
    json: Json = False,
    url: Url = None,
) -> int:
    page = {"limit": request.number("--limit", limit) or 50, "cursor": cursor}
    return asyncio.run(_shown(_filters(queue, script, label, since) | page, as_json=json, url=url))


def _requeue(
    ids: Chosen = None,
    param: Param = None,
    params: Params = None,
    everything: All = False,
    queue: Queue = None,
    script: Script = None,
    label: Label = None,
    since: Since = None,
    yes: Yes = False,
    json: Json = False,
    url: Url = None,
) -> int:
    edits = _Edits(request.parameters(None, params), request.parameters(param, None))
    terminal = sys.stdout.isatty()

    def told(job: "Job") -> str:
        return _("{id}: a new job, in place of {parent}").format(id=job.id, parent=job.parent) if terminal else job.id

    async def requeue(client: "AsyncClient", id: str) -> "Job":
        return await client.requeue(id, await edits.of(client, id))

    chosen = _chosen(ids, _filters(queue, script, label, since), everything, yes, url)
    return asyncio.run(for_each(chosen, requeue, told, as_json=json, url=url))


def _discard(
    ids: Chosen = None,
    everything: All = False,
    queue: Queue = None,
    script: Script = None,
    label: Label = None,
    since: Since = None,
    yes: Yes = False,
    json: Json = False,
    url: Url = None,
) -> int:
    def told(job: "Job") -> str:
        return _("{id}: discarded").format(id=job.id)

    chosen = _chosen(ids, _filters(queue, script, label, since), everything, yes, url)
    return asyncio.run(for_each(chosen, lambda client, id: client.discard(id), told, as_json=json, url=url))


class _Edits:
    """Parameters in place of a job's own, and some on top of these."""

    def __init__(self, whole: dict[str, Any] | None, some: dict[str, Any] | None) -> None:
        self._whole = whole
        self._some = some

    async def of(self, client: "AsyncClient", id: str) -> dict[str, Any] | None:
        """The parameters of a job to be made; None: as they were."""
        if not self._some:
            return self._whole
        return {**(self._whole if self._whole is not None else await _parameters(client, id)), **self._some}


async def _parameters(client: "AsyncClient", id: str) -> dict[str, Any]:
    from pumasi.core import strict

    text = (await client.get(id)).parameters
    return {} if text is None else dict(strict.loads(text))


def _filters(queue: str | None, script: str | None, label: list[str] | None, since: str | None) -> dict[str, Any]:
    filters = {"queue": queue, "script": script, "labels": request.labels(label), "since": request.since(since)}
    return {name: value for name, value in filters.items() if value}


def _chosen(ids: list[str] | None, filters: dict[str, Any], everything: bool, yes: bool, url: str | None) -> list[str]:
    """The ids that are meant, asked about when they are many. Raises: Invalid."""
    if bool(ids) == everything or (ids and filters):
        raise Invalid("name dead letters by their ids, or say --all, with filters or without")
    if ids:
        return ids
    found = asyncio.run(_ids(filters, url))
    if not found:
        say(_("no dead letters"))
    elif not yes and not (sys.stdin.isatty() and typer.confirm(_("{count} dead letters?").format(count=len(found)))):
        raise Invalid("nothing was done: answer yes, or say --yes")
    return found


async def _ids(filters: dict[str, Any], url: str | None) -> list[str]:
    from pumasi.cli.target import connected, load

    async with connected(load(), url) as client:
        return [job.id async for job in _all(client, filters)]


async def _all(client: "AsyncClient", filters: dict[str, Any]) -> "AsyncIterator[Job]":
    cursor: str | None = None
    while True:
        page = await client.find(dead=True, limit=_PAGE, cursor=cursor, **filters)
        for job in page.jobs:
            yield job
        if (cursor := page.cursor) is None:
            return


async def _shown(filters: dict[str, Any], *, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load
    from pumasi.views import page_view

    async with connected(load(), url) as client:
        page = await client.find(dead=True, **filters)
    if as_json:
        print_json(page_view(page))
        return OK
    if not page.jobs:
        say(_("no dead letters"))
        return OK
    print_jobs(page.jobs)
    write("")
    write(_("{count} dead letters").format(count=sum(page.totals.values())))
    if page.cursor:
        say(_("there are more: --cursor {cursor}").format(cursor=page.cursor))
    return OK
