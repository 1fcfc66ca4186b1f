"""`pumasi worker`: claims jobs and runs them, until it is told to drain."""

import asyncio
from typing import Annotated, Any

import typer

from pumasi.cli import request
from pumasi.cli.output import say
from pumasi.locale import gettext as _
from pumasi.masking import mask

DETAILS = _(
    "The first Ctrl-C or SIGTERM drains it: it claims no more jobs, lets the running ones finish for a while and "
    "releases the rest. The second stops it at once. Exit code: 0 drained, 1 no broker, 2 wrong usage, 130 stopped."
)


def command(
    broker: Annotated[str | None, typer.Option("--broker", metavar="URL", help=_("URL of the broker."))] = None,
    slots: Annotated[str | None, typer.Option("--slots", "-n", metavar="N", help=_("Jobs run at one time."))] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", "-q", metavar="NAME", help=_("A queue it serves, or a pattern such as shop-*; may be repeated.")
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help=_("Name of the worker."))] = None,
    max_runs: Annotated[
        str | None, typer.Option("--max-runs", metavar="N", help=_("End after so many runs; 0 is endless."))
    ] = None,
    require_broker: Annotated[
        bool, typer.Option("--require-broker", help=_("Exit with 1 when the broker cannot be reached at the start."))
    ] = False,
) -> int:
    flags: dict[str, Any] = {
        "broker": broker,
        "slots": request.number("--slots", slots),
        "queues": tuple(queue) if queue else None,
        "worker_id": name,
        "max_runs": request.number("--max-runs", max_runs),
    }
    return asyncio.run(_work(flags, require_broker=require_broker))


async def _work(flags: dict[str, Any], *, require_broker: bool) -> int:
    from pumasi.cli.service import Draining, load, signals
    from pumasi.worker import Worker

    settings = load(**flags)
    worker = Worker(settings, require_broker=require_broker)
    await worker.probe()
    text = _("worker {name}: {slots} slots, queues {queues}, isolation {level}, broker {broker}")
    say(
        text.format(
            name=worker.name,
            slots=settings.slots,
            queues=", ".join(worker.queues),
            level=worker.level,
            broker=mask(settings.broker_url),
        )
    )
    with signals(Draining(settings, worker.drain, worker.stop)):
        return await worker.run()
