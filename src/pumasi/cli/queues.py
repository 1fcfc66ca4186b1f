"""`pumasi queues`: list, pause, resume or bound queues."""

import asyncio
from typing import Annotated, Any

import typer

from pumasi.cli import OK
from pumasi.cli.options import Json, Url
from pumasi.cli.output import print_json, print_table, say
from pumasi.cli.words import Command, Group
from pumasi.errors import Invalid
from pumasi.locale import gettext as _
from pumasi.units import format_duration

Names = Annotated[list[str], typer.Argument(metavar="QUEUE…", help=_("Names of queues."))]


def build(app: typer.Typer) -> None:
    """`pumasi queues`, and the commands below it."""
    summary = _("List, pause, resume or bound queues.")
    app.callback(cls=Group, invoke_without_command=True, help=summary)(_list)
    app.command("pause", cls=Command, help=_("Hand out no more jobs of these queues; they still take jobs in."))(_pause)
    app.command("resume", cls=Command, help=_("Let paused queues go on."))(_resume)
    app.command("limit", cls=Command, help=_("Bound how many jobs may wait in a queue."))(_limit)


def _list(context: typer.Context, json: Json = False, url: Url = None) -> int:
    if context.invoked_subcommand is not None:
        return OK
    return asyncio.run(_queues(as_json=json, url=url))


def _pause(names: Names, json: Json = False, url: Url = None) -> int:
    return asyncio.run(_change(names, {"paused": True}, as_json=json, url=url))


def _resume(names: Names, json: Json = False, url: Url = None) -> int:
    return asyncio.run(_change(names, {"paused": False}, as_json=json, url=url))


def _limit(
    name: Annotated[str, typer.Argument(metavar="QUEUE", help=_("Name of a queue."))],
    most: Annotated[str, typer.Argument(metavar="N|default", help=_("Most jobs that may wait."))],
    json: Json = False,
    url: Url = None,
) -> int:
    if most != "default" and (not most.isdecimal() or int(most) < 1):
        raise Invalid("a queue's limit is a whole number above 0, or default; not {value!r}", value=most)
    change = {"max_pending": None if most == "default" else int(most)}
    return asyncio.run(_change([name], change, as_json=json, url=url))


async def _queues(*, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load

    async with connected(load(), url) as client:
        queues = await client.queues()
    if not queues and not as_json:
        say(_("no queue holds a job"))
        return OK
    _print(queues, as_json)
    return OK


async def _change(names: list[str], change: dict[str, Any], *, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load

    async with connected(load(), url) as client:
        queues = [await client.set_queue(name, **change) for name in dict.fromkeys(names)]
    _print(queues, as_json)
    return OK


def _print(queues: Any, as_json: bool) -> None:
    from pumasi.views import queue_view

    if as_json:
        print_json([queue_view(queue) for queue in queues])
        return
    headings = (
        _("queue"), _("state"), _("pending"), _("of them due"), _("running"), _("longest wait"), _("limit"),
    )  # fmt: skip
    rows = [
        (
            queue.name,
            _("paused") if queue.paused else _("open"),
            queue.pending,
            queue.due,
            queue.running,
            format_duration(queue.oldest_age) if queue.due else None,
            queue.max_pending,
        )
        for queue in queues
    ]
    print_table(headings, rows, right=(2, 3, 4, 5, 6))
