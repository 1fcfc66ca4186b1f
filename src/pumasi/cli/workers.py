"""`pumasi workers`: who runs jobs."""

import asyncio
import time

from pumasi.cli import OK
from pumasi.cli.options import Json, Url
from pumasi.cli.output import ago, print_json, print_table, say
from pumasi.locale import gettext as _
from pumasi.units import format_size


def command(json: Json = False, url: Url = None) -> int:
    return asyncio.run(_workers(as_json=json, url=url))


async def _workers(*, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load
    from pumasi.views import worker_view

    async with connected(load(), url) as client:
        workers = await client.workers()
    if as_json:
        print_json([worker_view(worker) for worker in workers])
        return OK
    if not workers:
        say(_("no worker is alive; start one with `pumasi worker`"))
        return OK
    now = time.time()
    headings = (
        _("worker"), _("state"), _("host"), _("slots"), _("memory free"), _("queues"), _("isolation"), _("completed"),
        _("failed"), _("started"), _("last heard"),
    )  # fmt: skip
    rows = [
        (
            worker.id,
            worker.status,
            f"{worker.host}:{worker.pid}",
            f"{worker.slots_used}/{worker.slots_total}",
            format_size(worker.memory_free),
            ", ".join(worker.queues),
            worker.isolation,
            f"{worker.stats.get('tasks_completed', 0):g}",
            f"{worker.stats.get('tasks_failed', 0):g}",
            ago(worker.started_at, now),
            ago(worker.seen_at, now),
        )
        for worker in workers
    ]
    print_table(headings, rows, right=(3, 4, 7, 8))
    return OK
