"""`/v1`: artifacts, scripts, workers, queues, stats."""

import mimetypes
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request, Response

from pumasi.core.job import QueueSettings
from pumasi.gateway.body import read
from pumasi.gateway.schemas import QueueRequest
from pumasi.gateway.services import Here, body_of, json
from pumasi.intake import locate
from pumasi.intake.request import QueueName
from pumasi.views import queue_view, stats_view, worker_view

router = APIRouter(prefix="/v1")


@router.get("/jobs/{id}/artifacts", tags=["jobs"])
async def artifacts(here: Here, id: str) -> Response:
    """The files a job left behind: `[{name, size}]`."""
    job = await locate(here.broker, id)
    files = await here.broker.artifacts(job)
    return json([{"name": name, "size": size} for name, size in files.items()])


@router.get("/jobs/{id}/artifacts/{name:path}", tags=["jobs"])
async def artifact(here: Here, id: str, name: str) -> Response:
    """One of these files, to be saved: what a script wrote is never shown as a page of this gateway."""
    job = await locate(here.broker, id)
    data = await here.broker.artifact(job, name)
    kind, _ = mimetypes.guess_type(name)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.rsplit('/', 1)[-1], safe='')}",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, headers=headers, media_type=kind or "application/octet-stream")


@router.get("/scripts", tags=["scripts"])
async def scripts(here: Here) -> Response:
    """The scripts there are; one that cannot be used has an `error`."""
    return json([msgspec.structs.asdict(info) for info in await here.repository.list()])


@router.get("/workers", tags=["workers"])
async def workers(here: Here) -> Response:
    """The workers that are alive, or were lost lately."""
    return json([worker_view(worker) for worker in await here.broker.workers()])


@router.get("/queues", tags=["queues"])
async def queues(here: Here) -> Response:
    """The queues: settings, and how full they are."""
    return json([queue_view(queue) for queue in await here.broker.queues()])


@router.put("/queues/{name}", tags=["queues"], openapi_extra=body_of("QueueRequest"))
@router.post("/queues/{name}", tags=["queues"], openapi_extra=body_of("QueueRequest"), include_in_schema=False)
async def set_queue(request: Request, here: Here, name: QueueName) -> Response:
    """Pause a queue, let it go on, bound it; choose how it orders its jobs."""
    asked = await read(request, QueueRequest)
    changes: dict[str, Any] = asked.model_dump(include=asked.model_fields_set)
    return json(queue_view(await here.broker.set_queue(name, QueueSettings(**changes))))


@router.get("/stats", tags=["stats"])
async def stats(here: Here) -> Response:
    """Everything at a glance: kept jobs by state, script and cause; queues; workers."""
    return json(stats_view(await here.broker.stats()))
