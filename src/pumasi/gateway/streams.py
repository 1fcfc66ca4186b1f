"""Server-sent events: what happens to jobs, and what they print.

Each event carries an id to resume from (`Last-Event-ID`): the position in the order of changes, or the number of a log
record. A stream about one job ends by itself; asked to resume behind its end, the answer is 204, which tells a browser
to stop asking. Nothing is kept here: whoever was cut off reads on from the store.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse

from pumasi.broker import Broker
from pumasi.closing import closing
from pumasi.core import job as core
from pumasi.core.job import Event, Job, Record
from pumasi.errors import Invalid
from pumasi.gateway.services import Here, Services, json
from pumasi.gateway.waiting import until_drain
from pumasi.intake import locate
from pumasi.intake.request import QueueName
from pumasi.views import event_view, raw, record_view

router = APIRouter(prefix="/v1", tags=["streams"])

After = Annotated[int | None, Query(ge=0, description="begin behind this one")]
LastId = Annotated[str | None, Header(alias="Last-Event-ID")]

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


#: what a script printed is never shown as a page of this gateway
_PLAIN = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


@router.get("/events")
async def events(
    here: Here,
    job: str | None = None,
    queue: QueueName | None = None,
    after: After = None,
    last_event_id: LastId = None,
) -> Response:
    """Jobs as they change, as server-sent events `{change, job}`: of one job until it has ended, of a queue, or all."""
    begin = _resumed(last_event_id, after)
    if job is None:
        position = await here.broker.position() if begin is None else begin
        return _stream(here, _changes(here.broker, queue, position))
    record = await locate(here.broker, job)
    if record.ended and begin is not None and record.change <= begin:
        return Response(status_code=204)
    return _stream(here, _life(here.broker, record, begin))


@router.get("/jobs/{id}/logs")
async def logs(
    here: Here,
    id: str,
    follow: bool = False,
    full: bool = False,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
    last_event_id: LastId = None,
) -> Response:
    """What a job printed and said: a list of records, or with `follow=1` server-sent events until the job has ended,
    or with `full=1` a text: all that was kept, also of what the records leave out."""
    job = await locate(here.broker, id)
    if full:
        return Response(await here.broker.whole_log(job), headers=_PLAIN, media_type="text/plain")
    begin = _resumed(last_event_id, after) or 0
    records = await here.broker.read(job.id, begin, limit)
    if not follow:
        return json([record_view(record) for record in records])
    if job.ended and not records and begin:
        return Response(status_code=204)
    return _stream(here, _records(here.broker, job.id, begin))


async def _changes(broker: Broker, queue: str | None, position: int) -> AsyncIterator[bytes]:
    yield _event(position)  # so that a stream cut before its first event resumes from here, too
    async with closing(broker.watch(core.Query(queue=queue), position)) as events:
        async for event in events:
            yield _told(event)


async def _life(broker: Broker, job: Job, after: int | None) -> AsyncIterator[bytes]:
    if after is None or job.change > after:
        yield _told(Event(job.change, job))
    if job.ended:
        return
    async with closing(broker.watch(core.Query(ids=(job.id,)), max(job.change, after or 0))) as events:
        async for event in events:
            yield _told(event)
            if event.job.ended:
                return


async def _records(broker: Broker, id: str, after: int) -> AsyncIterator[bytes]:
    async with closing(broker.follow(id, after)) as records:
        async for record in records:
            yield _printed(record)
    yield _event(None, {"state": (await broker.get(id)).state.value}, kind="end")


def _stream(here: Services, source: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(_kept_alive(here, source), media_type="text/event-stream", headers=_HEADERS)


async def _kept_alive(here: Services, source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with closing(until_drain(source, here.draining)) as events:
        async for event in events:
            yield b": alive\n\n" if event is None else event


def _told(event: Event) -> bytes:
    return _event(event.change, event_view(event, splice=raw))


def _printed(record: Record) -> bytes:
    return _event(record.seq, record_view(record))


def _event(id: int | None, data: Any = None, *, kind: str | None = None) -> bytes:
    """One event; JSON text holds no line breaks, so it is one line of data."""
    lines = [b"id: %d" % id] if id is not None else []
    lines += [b"event: " + kind.encode()] if kind else []
    lines += [b"data: " + msgspec.json.encode(data)] if data is not None else []
    return b"\n".join(lines) + b"\n\n"


def _resumed(last_event_id: str | None, after: int | None) -> int | None:
    if not last_event_id:
        return after
    if not last_event_id.isascii() or not last_event_id.isdigit():
        raise Invalid("Last-Event-ID must be the id of an event, not {value!r}", value=last_event_id[:100])
    return int(last_event_id)
