"""What is kept beside the jobs, and for how long."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from pumasi.broker.postgres import blobs
from pumasi.broker.postgres.pool import Pool
from pumasi.core.job import Queue, QueueSettings, State, Worker

#: jobs that one statement forgets
FORGOTTEN = 200
#: bundles and stray blobs that one statement forgets
FORGOTTEN_BLOBS = 200

_worker = msgspec.json.Decoder(Worker)


async def forget_jobs(pool: Pool, ended_before: Mapping[State, float], workers_before: float) -> int:
    """Forget jobs that ended before, with all that hangs on them, and silent workers; how many jobs."""
    values = {
        "states": [state.value for state in ended_before],
        "before": list(ended_before.values()),
        "limit": FORGOTTEN,
    }
    gone = 0
    while n := (await pool.ask("forget_jobs", values))[0][0]:
        gone += n
        if n < FORGOTTEN:
            break
    await pool.ask("forget_workers", {"before": workers_before})
    return gone


async def tidy(pool: Pool, strays_before: float, scripts_before: float, now: float | None) -> None:
    """Forget blobs that nobody needs, and bookkeeping that has become empty."""
    before = {"scripts_before": scripts_before, "strays_before": strays_before, "limit": FORGOTTEN_BLOBS}
    while (await pool.ask("forget_blobs", before))[0][0] == FORGOTTEN_BLOBS:
        pass
    await remove_doomed(pool, now)
    await pool.ask("tidy", {"now": now})


async def remove_doomed(pool: Pool, now: float | None) -> None:
    """Remove chunks that belong to no blob."""
    while (await pool.ask("remove_doomed", {"now": now, "limit": blobs.TOGETHER}))[0][0]:
        pass


async def queues(pool: Pool, now: float | None) -> list[Queue]:
    """As `Store.queues`."""
    return [
        Queue(
            name=name,
            paused=paused,
            max_pending=bound,
            ageing=ageing,
            fair=fair,
            pending=pending,
            due=max(0, pending - later),
            running=running,
            oldest_age=0.0 if first is None else max(0.0, moment - first),
        )
        for name, paused, bound, ageing, fair, pending, running, later, first, moment in await pool.ask(
            "queues", {"now": now}
        )
    ]


async def set_queue(pool: Pool, name: str, settings: QueueSettings) -> None:
    """As `Store.set_queue`."""
    values: dict[str, object] = {"name": name}
    for setting in ("paused", "max_pending", "ageing", "fair"):
        value = getattr(settings, setting)
        values |= {setting: None if value is UNSET else value, f"set_{setting}": value is not UNSET}
    await pool.ask("set_queue", values)


async def workers(pool: Pool) -> list[Worker]:
    """As `Store.workers`."""
    return [replace(_worker.decode(text), seen_at=seen_at) for text, seen_at in await pool.ask("workers", {})]
