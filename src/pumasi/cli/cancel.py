"""`pumasi cancel ID…`: end jobs that wait, and tell the workers of those that run."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pumasi.cli import FAILED, OK
from pumasi.cli.options import Ids, Json, Url
from pumasi.cli.output import print_json, say, write
from pumasi.errors import Error
from pumasi.locale import gettext as _
from pumasi.terminal import printable

if TYPE_CHECKING:
    from pumasi.client import AsyncClient
    from pumasi.core.job import Job


def command(ids: Ids, json: Json = False, url: Url = None) -> int:
    return asyncio.run(for_each(ids, lambda client, id: client.cancel(id), _told, as_json=json, url=url))


async def for_each(
    ids: list[str],
    verb: "Callable[[AsyncClient, str], Awaitable[Job]]",
    told: "Callable[[Job], str]",
    *,
    as_json: bool,
    url: str | None,
) -> int:
    """Do something to each job; one that cannot be is told, and the others go on."""
    from pumasi.cli.target import connected, load
    from pumasi.views import job_view

    done, failed = [], 0
    async with connected(load(), url) as client:
        for id in dict.fromkeys(ids):
            try:
                done.append(await verb(client, id))
            except Error as error:
                failed += 1
                say(_("error: {text}").format(text=printable(str(error))))
    if as_json:
        print_json([job_view(job) for job in done])
    else:
        for job in done:
            write(printable(told(job)))
    return FAILED if failed else OK


def _told(job: "Job") -> str:
    if job.state.value == "running":
        return _("{id}: its worker is told to stop it").format(id=job.id)
    if job.state.value == "cancelled":
        return _("{id}: cancelled").format(id=job.id)
    return _("{id}: had ended already ({state})").format(id=job.id, state=job.state.value)
