"""`pumasi queues`: list, pause, resume, bound or order queues."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumasi.cli import OK, request
from pumasi.cli.options import Json, Url
from pumasi.cli.output import print_json, print_table, say
from pumasi.cli.words import Command, Group
from pumasi.errors import Invalid
from pumasi.locale import gettext as _
from pumasi.units import format_duration

if TYPE_CHECKING:
    from pumasi.core.job import Queue

Names = Annotated[list[str], typer.Argument(metavar="QUEUE…", help=_("Names of queues."))]


def build(app: typer.Typer) -> None:
    """`pumasi queues`, and the commands below it."""
    summary = _("List, pause, resume, bound or order queues.")
    app.callback(cls=Group, invoke_without_command=True, help=summary)(_list)
    app.command("pause", cls=Command, help=_("Hand out no more jobs of these queues; they still take jobs in."))(_pause)
    app.command("resume", cls=Command, help=_("Let paused queues go on."))(_resume)
    app.command("limit", cls=Command, help=_("Bound how many jobs may wait in a queue."))(_limit)
    app.command("order", cls=Command, help=_("Choose how queues order the jobs that wait in them."))(_order)


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


def _order(
    names: Names,
    ageing: Annotated[
        str | None,
        typer.Option("--ageing", metavar="TIME|off", help=_("Waiting so long raises a job's priority by one.")),
    ] = None,
    fair: Annotated[
        bool | None, typer.Option("--fair/--no-fair", help=_("Serve those that share the queue in turn."))
    ] = None,
    json: Json = False,
    url: Url = None,
) -> int:
    change: dict[str, Any] = {} if fair is None else {"fair": fair}
    if ageing is not None:
        change["ageing"] = None if ageing == "off" else request.duration("--ageing", ageing)
    if not change:
        raise Invalid("say how: --ageing TIME|off, --fair or --no-fair")
    return asyncio.run(_change(names, change, as_json=json, url=url))


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
        _("queue"), _("state"), _("pending"), _("of them due"), _("running"), _("longest wait"), _("limit"), _("order"),
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
            _ordered(queue),
        )
        for queue in queues
    ]
    print_table(headings, rows, right=(2, 3, 4, 5, 6))


def _ordered(queue: "Queue") -> str | None:
    """How a queue orders its jobs, when not by priority and time alone."""
    ageing = [] if queue.ageing is None else [_("ageing {duration}").format(duration=format_duration(queue.ageing))]
    return ", ".join([*ageing, *([_("fair")] if queue.fair else [])]) or None
