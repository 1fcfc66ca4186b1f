"""Records of jobs: in, out, compared and swapped."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields, replace

from pumasi.broker.classic import MAX_DATA
from pumasi.broker.redis import blobs
from pumasi.broker.redis.pieces import piece
from pumasi.broker.redis.server import Server
from pumasi.broker.store import Fetch, Inserted
from pumasi.core import lifecycle
from pumasi.core.job import Job, Progress, Record
from pumasi.core.logbook import RECORD_BYTES
from pumasi.errors import Conflict

#: as records are kept
encode = msgspec.json.Encoder().encode
#: as scripts are asked
packed = msgspec.msgpack.Encoder().encode
#: a time that is left out of a record's text: the very object that is the default
UNSAID: float = next(field.default for field in fields(Job) if field.name == "created_at")


class _New(Struct, frozen=True, omit_defaults=True):
    """A job as `lua/shelving.lua` takes it: its record but for the closing brace, and what it is found by."""

    id: str
    text: msgspec.Raw
    state: str
    queue: str
    script: str
    priority: int
    memory: int
    #: the keyed limit as JSON, or empty
    limit: str
    share: str
    run_at: float
    attempt: int
    cause: str
    resolved: str
    body_hash: str
    labels: list[str]
    expires_at: float | None = None
    key: str | None = None
    digest: str | None = None
    parent: str | None = None
    unique: str | None = None
    idempotency: str | None = None
    created_at: float | None = None
    ended_at: float | None = None
    log: list[msgspec.Raw] | None = None
    #: of a job from the face: its request_id, and the request but for the closing brace
    external: str | None = None
    request: msgspec.Raw | None = None


class _Inserted(Struct, array_like=True):
    now: float
    first: int
    #: (place, place of the same job before or -1, the record)
    known: list[tuple[int, int, Job | None]]
    #: (which key, place, place of the holder or -1, its record)
    conflict: tuple[int, int, int, Job | None] | None
    full: tuple[int, float] | None


_inserted = msgspec.json.Decoder(_Inserted)
_adopted = msgspec.json.Decoder(tuple[int, tuple[int, int, str] | None])
_records = msgspec.json.Decoder(list[Job | None])
_swapped = msgspec.json.Decoder(tuple[float, list[tuple[bool, float | None, Progress | None, int, int] | None]])


def raw(data: bytes) -> msgspec.Raw:
    """Bytes inside what a script is asked: the server's MessagePack knows texts (of any bytes), and no binary data."""
    return msgspec.Raw(b"\xdb" + len(data).to_bytes(4, "big") + data)


def limit_text(job: Job) -> str:
    """The keyed limit as it names a lane."""
    return encode(job.limit).decode() if job.limit else ""


def label_key(name: str, value: str) -> str:
    """A label as it is looked up."""
    return encode([name, value]).decode()


def new(server: Server, job: Job, request: bytes | None = None, **more: Any) -> _New:
    """A job as it is stored anew; `request` is what it came from, when it came by the face."""
    if request is not None:
        more |= {"external": job.external_id, "request": raw(request[:-1])}
    return _New(
        id=job.id,
        text=raw(encode(job)[:-1]),
        state=job.state.value,
        queue=job.queue,
        script=job.script,
        priority=job.priority,
        memory=job.required_memory,
        limit=limit_text(job),
        share=job.share,
        run_at=job.run_at,
        attempt=job.attempt,
        cause=job.cause.value if job.cause else "",
        resolved=job.resolved or "",
        body_hash=job.body_hash,
        labels=[label_key(name, value) for name, value in job.labels.items()],
        expires_at=job.expires_at,
        key=job.limit.key if job.limit else None,
        digest=job.digest,
        parent=job.parent,
        unique=job.unique,
        idempotency=job.idempotency_key,
        **more,
    )


# -- in -----------------------------------------------------------------------------------------------------------


async def insert(server: Server, jobs: Sequence[Job], max_pending: int) -> Inserted:
    """As `Store.insert`. The server puts the times in."""
    if not jobs:
        return Inserted()
    asked = [lifecycle.submitted(job, UNSAID) for job in jobs]
    answer = _inserted.decode(await server.run("insert", packed([[new(server, job) for job in asked], max_pending])))
    server.heard(answer.now)
    if answer.conflict:
        kind, place, before, other = answer.conflict
        job = asked[place]
        return Inserted(conflict=((job.idempotency_key if kind == 1 else job.unique) or "", other or asked[before]))
    if answer.full:
        place, bound = answer.full
        return Inserted(full=(asked[place].queue, int(bound)))
    return _stored(asked, answer)


def _stored(asked: list[Job], answer: _Inserted) -> Inserted:
    """The records as they are now: those that were there, and the new ones, which follow one another."""
    known = {place: (before, record) for place, before, record in answer.known}
    change = answer.first
    records: list[Job] = []
    fresh: list[str] = []
    for place, job in enumerate(asked):
        if place in known:
            before, record = known[place]
            records.append(record or records[before])
            continue
        due = job.run_at or answer.now
        records.append(replace(job, created_at=answer.now, run_at=due, revision=1, change=change))
        fresh.append(job.id)
        change += 1
    return Inserted(tuple(records), frozenset(fresh))


async def adopt(server: Server, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
    """As `Store.adopt`."""
    if not entries:
        return 0
    records = [
        new(
            server,
            replace(job, revision=0, change=0),
            created_at=job.created_at,
            ended_at=job.ended_at if job.ended else None,
            log=[raw(piece(record)) for record in records],
        )
        for job, records in entries
    ]
    count, conflict = _adopted.decode(await server.run("adopt", packed([records, RECORD_BYTES])))
    if conflict:
        kind, place, id = conflict
        job = entries[place][0]
        raise Conflict(key=job.idempotency_key if kind == 1 else job.unique, id=id)
    return count


# -- out ----------------------------------------------------------------------------------------------------------


async def load(server: Server, ids: Sequence[str]) -> list[Job | None]:
    """As `Store.load`."""
    return _records.decode(await server.run("load", packed(list(ids)))) if ids else []


# -- compare and swap ---------------------------------------------------------------------------------------------


class _Next(Struct, frozen=True):
    """The next record of a job, as `lua/swap.lua` takes it."""

    id: str
    revision: int
    same_lease: bool
    old_lease: float | None
    text: msgspec.Raw
    state: str
    cause: str
    resolved: str
    run_at: float
    ended_at: float | None
    started_at: float | None
    cancel: int
    priority: int
    memory: int
    limit: str
    #: of a job from the face that ends: its request_id, the hash that tells of it, and what is told
    told: tuple[str, str, msgspec.Raw] | None = None


async def swap(
    server: Server, pairs: Sequence[tuple[Job, Job]], *, same_lease: bool, fetch: Fetch | None = None
) -> list[Job | None]:
    """As `Store.swap`, and with `same_lease` off as `Store.settle`."""
    if not pairs:
        return []
    asked = [_next(old, new, same_lease, await _told(server, fetch, old, new)) for old, new in pairs]
    ask = {"pairs": asked, "face": server.face.name}
    now, answers = _swapped.decode(await server.run("swap", packed(ask)))
    server.heard(now)
    stored: list[Job | None] = []
    for (_, new), answer in zip(pairs, answers, strict=True):
        if answer is None:
            stored.append(None)
            continue
        ran, started, progress, revision, change = answer
        told = {"started_at": started, "progress": progress} if ran else {}
        stored.append(replace(new, **told, revision=revision, change=change))
    return stored


async def _told(server: Server, fetch: Fetch | None, old: Job, new: Job) -> tuple[str, str, msgspec.Raw] | None:
    """What the face says of a job that ends here, if it came from there."""
    if not server.face.on or new.external_id is None or old.ended or not new.ended:
        return None
    result = new.result
    if new.result_blob is not None and new.result_size <= MAX_DATA:
        data = await (fetch(new.result_blob) if fetch else blobs.get(server, new.result_blob))
        result = None if data is None else data.decode()
    elif new.result_blob is not None:
        result = " " * new.result_size  # its size is what is told of it
    status, reply = server.face.told(new, result)
    return new.external_id, status, raw(reply)


def _next(old: Job, new: Job, same_lease: bool, told: tuple[str, str, msgspec.Raw] | None) -> _Next:
    return _Next(
        id=old.id,
        revision=old.revision,
        same_lease=same_lease,
        old_lease=old.lease_until,
        text=raw(encode(replace(new, revision=0, change=0))[:-1]),
        state=new.state.value,
        cause=new.cause.value if new.cause else "",
        resolved=new.resolved or "",
        run_at=new.run_at,
        ended_at=new.ended_at,
        started_at=new.started_at,
        cancel=int(new.cancel_requested),
        priority=new.priority,
        memory=new.required_memory,
        limit=limit_text(new),
        told=told,
    )
