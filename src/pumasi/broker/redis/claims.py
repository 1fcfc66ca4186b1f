"""Leases: taken, extended, outlived."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pumasi.broker.redis.face import Entry
from pumasi.broker.redis.jobs import UNSAID, encode, new, packed, raw
from pumasi.broker.redis.server import Server
from pumasi.broker.store import Claim, Extended, Taken
from pumasi.core.job import Held, Job, KeyLimit, Worker
from pumasi.core.lifecycle import submitted

#: times that one claim looks for entries of the face
LOOKS = 8


class _Taken(Struct, array_like=True):
    now: float
    lapsed: bool
    next_at: float | None
    jobs: tuple[Job, ...]


_taken = msgspec.json.Decoder(_Taken)
_lapsed = msgspec.json.Decoder(tuple[float, list[Job]])
_extended = msgspec.json.Decoder(tuple[float, list[int], list[int]])
_acquired = msgspec.json.Decoder(tuple[float, float])


async def take(server: Server, claim: Claim) -> Taken:
    """As `Store.take`. Entries of the face that are in sight are taken in by a second step, and chosen among.

    Others may have had them by then: then the next ones are looked at, a few times.
    """
    answer, waiting = await _take(server, claim, [])
    for _ in range(LOOKS):
        if not waiting:
            break
        entries = server.face.entries(waiting)
        answer, waiting = await _take(server, claim, entries)
        server.face.on_recorded({entry.job.queue for entry in entries if entry.job is not None})
    if not answer.jobs:
        server.face.on_idle()
    return Taken(answer.jobs, lapsed=answer.lapsed, next_at=answer.next_at, now=answer.now)


async def _take(server: Server, claim: Claim, entries: list[Entry]) -> tuple[_Taken, list[bytes]]:
    """What was taken, and entries of the face that were not looked at yet, the next one last."""
    face, now = server.face, server.clock.now()
    ask: dict[str, Any] = {
        "worker": claim.worker,
        "claim_id": claim.claim_id,
        "queues": claim.queues,
        "tokens": claim.tokens[: claim.slots],
        "memory": claim.memory,
        "lease": claim.lease,
        "calm": server.clock.calm(),
        "face": face.name,
        "look": face.look(claim.slots),
        "face_queue": face.queue,
        "face_memory": face.memory,
        "at": face.written(now) if face.on else "",
        "entries": [
            {"raw": raw(entry.raw), "dead": raw(face.dead(entry, now))}
            if entry.job is None
            else {"raw": raw(entry.raw), "job": new(server, submitted(entry.job, UNSAID), entry.request)}
            for entry in entries
        ],
    }
    said = await server.run("take", packed(ask))
    text, *waiting = said if isinstance(said, list) else [said]
    answer = _taken.decode(text)
    server.heard(answer.now)
    return answer, waiting


async def lapsed(server: Server, queues: Sequence[str] | None, limit: int, memory: int | None) -> list[Job]:
    """As `Store.lapsed`."""
    ask = {
        "queues": queues,
        "limit": limit,
        "memory": memory,
        "calm": server.clock.calm(),
        "face": server.face.name,
    }
    now, jobs = _lapsed.decode(await server.run("lapsed", packed(ask)))
    server.heard(now)
    return jobs


async def extend(server: Server, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
    """As `Store.extend`."""
    ask = {
        "worker": worker.id,
        "stopped": worker.status == "stopped",
        "record": raw(encode(replace(worker, seen_at=UNSAID))),
        "leases": [(held.id, held.token, held.started) for held in leases],
        "lease": lease,
        "face": server.face.name,
        "shown": raw(server.face.worker(worker, server.clock.now())) if server.face.on else None,
    }
    now, cancelled, lost = _extended.decode(await server.run("extend", packed(ask)))
    server.heard(now)
    return Extended(tuple(leases[place] for place in cancelled), tuple(leases[place] for place in lost))


async def acquire(server: Server, limit: KeyLimit, n: int) -> float:
    """As `Store.acquire`."""
    now, wait = _acquired.decode(await server.run("acquire", packed({"limit": raw(encode(limit)), "n": n})))
    server.heard(now)
    return wait
