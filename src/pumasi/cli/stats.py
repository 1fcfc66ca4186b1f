"""`pumasi stats`: everything at a glance."""

import asyncio
from collections import Counter

from pumasi.cli import OK
from pumasi.cli.options import Json, Url
from pumasi.cli.output import print_facts, print_json, print_table, write
from pumasi.locale import gettext as _
from pumasi.units import format_duration

_STATES = ("pending", "running", "completed", "failed", "cancelled")


def command(json: Json = False, url: Url = None) -> int:
    return asyncio.run(_stats(as_json=json, url=url))


async def _stats(*, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load
    from pumasi.views import stats_view

    async with connected(load(), url) as client:
        stats = await client.stats()
        dead = await client.find(dead=True, limit=1)
    if as_json:
        print_json(stats_view(stats))
        return OK
    counts: Counter[tuple[str, str]] = Counter()
    causes: Counter[str] = Counter()
    for state, script, cause, count in stats.jobs:
        counts[script, state] += count
        if cause:
            causes[cause] += count
    scripts = sorted({script for script, _state in counts})
    rows = [(script, *[counts[script, state] for state in _STATES]) for script in scripts]
    totals = [sum(counts[script, state] for script in scripts) for state in _STATES]
    headings = (_("script"), _("pending"), _("running"), _("completed"), _("failed"), _("cancelled"))
    print_table(headings, [*rows, (_("all"), *totals)], right=(1, 2, 3, 4, 5))
    write("")
    live = [worker for worker in stats.workers if worker.status in ("active", "draining")]
    used, total = sum(w.slots_used for w in live), sum(w.slots_total for w in live)
    oldest = max((queue.oldest_age for queue in stats.queues if queue.due), default=0.0)
    print_facts(
        [
            (_("workers"), len(live)),
            (_("slots taken"), _("{used} of {total}").format(used=used, total=total)),
            (_("longest wait"), format_duration(oldest) if oldest else None),
            (_("dead letters"), sum(dead.totals.values()) or None),
            (_("failures by cause"), ", ".join(f"{cause} {count}" for cause, count in causes.most_common())),
        ]
    )
    return OK
