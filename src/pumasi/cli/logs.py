"""`pumasi logs ID`: what a job printed, on standard output; `-f` follows it until the job has ended, `--full` prints
also what the log leaves out."""

import asyncio
import sys
from typing import Annotated

import typer

from pumasi.cli import OK
from pumasi.cli.options import Id, Url
from pumasi.cli.output import write
from pumasi.errors import Invalid
from pumasi.locale import gettext as _
from pumasi.terminal import printable


def command(
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=_("Go on until the job has ended."))] = False,
    full: Annotated[
        bool, typer.Option("--full", help=_("Print all that was kept, also what the log leaves out."))
    ] = False,
    json: Annotated[bool, typer.Option("--json", help=_("Print a JSON line for each record."))] = False,
    url: Url = None,
) -> int:
    if full and (follow or json):
        raise Invalid("--full goes with neither --follow nor --json")
    return asyncio.run(_full(id, url=url) if full else _logs(id, follow=follow, as_json=json, url=url))


async def _full(id: str, *, url: str | None) -> int:
    from pumasi.cli.target import connected, load

    async with connected(load(), url) as client:
        data = await client.full_log(id)
    sys.stdout.write(printable(data))
    sys.stdout.flush()
    return OK


async def _logs(id: str, *, follow: bool, as_json: bool, url: str | None) -> int:
    import json

    from pumasi.cli.follow import LogView
    from pumasi.cli.target import connected, load
    from pumasi.views import record_view

    async with connected(load(), url) as client:
        with LogView(sys.stdout) as view:
            async for record in client.logs(id, follow=follow):
                if as_json:
                    write(json.dumps(record_view(record), ensure_ascii=False))
                    sys.stdout.flush()
                elif follow or record.stream != "progress":
                    await asyncio.to_thread(view.show, record)
    return OK
