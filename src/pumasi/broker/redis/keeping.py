"""What is kept beside the jobs, and for how long."""

from collections import Counter
from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from pumasi.broker.redis.jobs import packed
from pumasi.broker.redis.server import Server
from pumasi.core.job import Queue, QueueSettings, State, Worker

#: jobs, blobs and parts of blobs that one step forgets
JOBS, BLOBS, CHUNKS = 100, 500, 64
#: seconds between two rounds of tidying
TIDY = 60.0

_worker = msgspec.json.Decoder(Worker)
_Queue = tuple[str, bool, float | None, float | None, bool, int, int, int, float | None]
_queues = msgspec.json.Decoder(tuple[float, list[_Queue]])


async def purge(
    server: Server, ended_before: Mapping[State, float], scripts_before: float, workers_before: float
) -> int:
    """As `Store.purge`."""
    ask = packed(
        {
            "ended_before": {state.value: before for state, before in ended_before.items()},
            "strays_before": min(ended_before.values()),
            "scripts_before": scripts_before,
            "workers_before": workers_before,
            "jobs": JOBS,
            "blobs": BLOBS,
            "chunks": CHUNKS,
            "minute": TIDY,
            "face": server.face.name,
        }
    )
    gone, more = 0, True
    while more:
        count, more = await server.run("purge", ask)
        gone += count
    return gone


async def queues(server: Server) -> list[Queue]:
    """As `Store.queues`."""
    now, found = _queues.decode(await server.run("queues"))
    return sorted((_queue(now, *values) for values in found), key=lambda queue: queue.name)


def _queue(
    now: float, name: str, paused: bool, bound: float | None, ageing: float | None, fair: bool, pending: int,
    later: int, running: int, first: float | None,
) -> Queue:  # fmt: skip
    return Queue(
        name=name,
        paused=paused,
        max_pending=None if bound is None else int(bound),
        ageing=ageing,
        fair=fair,
        pending=pending,
        due=pending - later,
        running=running,
        oldest_age=0.0 if first is None else max(0.0, now - first),
    )


async def set_queue(server: Server, name: str, settings: QueueSettings) -> None:
    """As `Store.set_queue`."""
    changes = {
        "paused": _flag(settings.paused),
        "max_pending": _number(settings.max_pending),
        "ageing": _number(settings.ageing),
        "fair": _flag(settings.fair),
    }
    await server.run("set_queue", packed([name, {key: value for key, value in changes.items() if value is not None}]))


def _flag(value: bool | UnsetType) -> str | None:
    """A setting as it is kept: empty when it is off; None when it stays as it is."""
    if value is UNSET:
        return None
    return "1" if value else ""


def _number(value: float | UnsetType | None) -> str | None:
    if isinstance(value, UnsetType):
        return None
    return "" if value is None else repr(value)


async def workers(server: Server) -> list[Worker]:
    """As `Store.workers`."""
    found = [_worker.decode(text) for text in await server.ask(b"HVALS", server.key("workers"))]
    return sorted(found, key=lambda worker: worker.id)


async def counts(server: Server) -> list[tuple[str, str, str, int]]:
    """As `Store.counts`."""
    tally = await server.ask(b"HGETALL", server.key("tally"))
    found: Counter[tuple[str, str, str]] = Counter()
    for shelf, n in zip(tally[::2], tally[1::2], strict=True):
        state, _, cause, _, script = shelf.decode().split("\0", 4)
        found[state, script, cause] += int(n)
    return sorted((*shelf, n) for shelf, n in found.items())
