"""`pumasi logs ID`: what a job printed, on standard output; `-f` follows it until the job has ended."""

import asyncio
import sys
from typing import Annotated

import typer

from pumasi.cli import OK
from pumasi.cli.options import Id, Url
from pumasi.cli.output import write
from pumasi.locale import gettext as _


def command(
    id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help=_("Go on until the job has ended."))] = False,
    json: Annotated[bool, typer.Option("--json", help=_("Print a JSON line for each record."))] = False,
    url: Url = None,
) -> int:
    return asyncio.run(_logs(id, follow=follow, as_json=json, url=url))


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
