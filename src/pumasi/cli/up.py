"""`pumasi up`: gateway and worker in one process, on the broker of the settings: the embedded one, mostly."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

import pumasi
from pumasi.cli import request
from pumasi.cli.gateway import Host, Port
from pumasi.cli.output import print_facts, write
from pumasi.locale import gettext as _
from pumasi.masking import mask
from pumasi.units import format_duration

if TYPE_CHECKING:
    from pumasi.config import Settings
    from pumasi.worker import Worker

DETAILS = _(
    "The first Ctrl-C or SIGTERM drains the worker: it claims no more jobs, lets the running ones finish for a while "
    "and releases the rest. The second stops at once."
)


def command(
    host: Host = None,
    port: Port = None,
    slots: Annotated[str | None, typer.Option("--slots", "-n", metavar="N", help=_("Jobs run at one time."))] = None,
    queue: Annotated[
        list[str] | None,
        typer.Option(
            "--queue", "-q", metavar="NAME", help=_("A queue it serves, or a pattern such as shop-*; may be repeated.")
        ),
    ] = None,
    scripts: Annotated[
        str | None, typer.Option("--scripts", metavar="FOLDER", help=_("The folder of the scripts."))
    ] = None,
) -> int:
    flags = {
        "host": host,
        "port": port,
        "slots": request.number("--slots", slots),
        "queues": tuple(queue) if queue else None,
        "scripts": scripts,
    }
    return asyncio.run(_up(flags))


async def _up(flags: dict[str, Any]) -> int:
    """The gateway first, then the worker; when the worker has drained, the gateway goes, too."""
    from pumasi.cli.service import Draining, load, signals
    from pumasi.gateway.serve import serve
    from pumasi.worker import Worker

    settings = load(**flags)
    worker, answering, stop = Worker(settings), asyncio.Event(), asyncio.Event()
    await worker.probe()

    def ready(url: str) -> None:
        _greet(url, settings, worker)
        answering.set()

    def drain() -> None:
        worker.drain()
        if not answering.is_set():
            stop.set()

    serving = asyncio.create_task(serve(settings, ready=ready, stop=stop))
    with signals(Draining(settings, drain, worker.stop)):
        if not await _came_first(answering, serving):
            await worker.release()
            return await serving
        working = asyncio.create_task(worker.run())
        try:
            await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
            worker.drain()
            return await working
        finally:
            stop.set()
            await serving


async def _came_first(event: asyncio.Event, task: "asyncio.Task[int]") -> bool:
    """Whether the event was set before the task ended."""
    setting = asyncio.ensure_future(event.wait())
    await asyncio.wait({setting, task}, return_when=asyncio.FIRST_COMPLETED)
    setting.cancel()
    return event.is_set()


def _greet(url: str, settings: "Settings", worker: "Worker") -> None:
    write(f"Pumasi {pumasi.__version__}")
    slots = _("{slots} slots, queues {queues}, isolation {level}")
    print_facts(
        [
            (_("gateway"), _("{url} (its API: {url}/docs)").format(url=url)),
            (_("broker"), f"{mask(settings.broker_url)} ({settings.broker_why})"),
            (_("scripts"), settings.scripts),
            (_("worker"), worker.name),
            ("", slots.format(slots=settings.slots, queues=", ".join(worker.queues), level=worker.level)),
        ]
    )
    text = _("Ctrl-C stops it; running jobs get {duration} to finish.")
    write(text.format(duration=format_duration(settings.drain)))
