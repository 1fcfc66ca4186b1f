"""`pumasi gateway`: the HTTP API on the broker of the settings."""

import asyncio
from typing import Annotated, Any

import typer

from pumasi.cli.output import say
from pumasi.locale import gettext as _
from pumasi.masking import mask

Host = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help=_("Address to listen on."))]
Port = Annotated[str | None, typer.Option("--port", metavar="PORT", help=_("Port to listen on; 0 takes a free one."))]


def command(
    host: Host = None,
    port: Port = None,
    broker: Annotated[str | None, typer.Option("--broker", metavar="URL", help=_("URL of the broker."))] = None,
) -> int:
    return asyncio.run(_serve({"host": host, "port": port, "broker": broker}))


async def _serve(flags: dict[str, Any]) -> int:
    from pumasi.cli.service import load, signals
    from pumasi.gateway.serve import serve

    settings = load(**flags)

    def ready(url: str) -> None:
        say(_("gateway {url}, broker {broker}; Ctrl-C stops it").format(url=url, broker=mask(settings.broker_url)))

    stop = asyncio.Event()
    with signals(lambda _number: stop.set()):
        return await serve(settings, ready=ready, stop=stop)
