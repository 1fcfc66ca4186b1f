"""`pumasi copy FROM TO`: all jobs of one broker to another, as they stand."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pumasi.cli import FAILED, OK
from pumasi.cli.options import Json
from pumasi.cli.output import print_facts, print_json, say
from pumasi.cli.progress import bar
from pumasi.locale import gettext as _
from pumasi.masking import mask
from pumasi.terminal import printable

if TYPE_CHECKING:
    from pumasi.copying import Copied

#: conflicts that are named one by one
_NAMED = 10
DETAILS = _(
    "Records, logs, results, artifacts, scripts and the settings of queues are copied; the source stays as it is. Let "
    "no worker run on it meanwhile: what waits is taken along. Safe to repeat: what the target knows is left alone. "
    "Exit code: 0 when all was copied, 1 when a job runs, or its key belongs to another one."
)


def command(
    source: Annotated[str, typer.Argument(metavar="FROM", help=_("URL of the broker that has the jobs."))],
    target: Annotated[str, typer.Argument(metavar="TO", help=_("URL of the broker that is to have them."))],
    json: Json = False,
) -> int:
    copied = asyncio.run(_copy(source, target))
    for id in copied.conflicts[:_NAMED]:
        say(_("{id}: its key belongs to another job there").format(id=printable(id)))
    for id in sorted(copied.begun)[:_NAMED]:
        say(
            _("{id}: was begun at the source, and waits at the target as well; cancel one of them").format(
                id=printable(id)
            )
        )
    if json:
        print_json({
            "total": copied.total, "new": copied.new, "known": copied.known, "running": len(copied.running),
            "conflicts": list(copied.conflicts), "begun": sorted(copied.begun),
        })  # fmt: skip
    else:
        print_facts(
            [
                (_("copied"), copied.new),
                (_("known there already"), copied.known or None),
                (_("running, left where they are"), len(copied.running) or None),
                (_("not taken, their key is held"), len(copied.conflicts) or None),
                (_("begun at the source, waiting at the target"), len(copied.begun) or None),
            ]
        )
    return FAILED if copied.running or copied.conflicts or copied.begun else OK


async def _copy(source: str, target: str) -> "Copied":
    from pumasi.broker import connect
    from pumasi.cli.target import load
    from pumasi.copying import copy, share_place

    settings = load()
    blobs = settings.blobs
    async with connect(source, blobs=blobs) as one, connect(target, blobs=blobs) as other:
        alive = [worker for worker in await one.workers() if worker.status in ("active", "draining")]
        if alive:
            text = _("warning: {count} workers are alive at {url}; what they run from now on may run again there")
            say(text.format(count=len(alive), url=mask(one.url)))
        with bar(_("copying"), shown=sys.stderr.isatty()) as told:
            copied = await copy(one, other, lambda copied: told(copied.seen, max(copied.total, copied.seen)))
    if blobs:
        async with connect(source) as one, connect(target) as other:
            await share_place(one, other)
    return copied
