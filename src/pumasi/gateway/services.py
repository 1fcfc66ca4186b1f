"""What the routes work with, and the form of their answers."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Request
from starlette.responses import Response

from pumasi.broker import Broker
from pumasi.core.job import Job
from pumasi.intake import Intake
from pumasi.scripts.base import Repository
from pumasi.views import job_view, raw


class Services:
    """The broker, the way in, the scripts; and whether the gateway is about to stop."""

    def __init__(self, broker: Broker, repository: Repository) -> None:
        self.broker = broker
        self.repository = repository
        self.intake = Intake(broker, repository)
        self.draining = asyncio.Event()


def services(request: Request) -> Services:
    """Those of the app that a request came to."""
    found: Services = request.app.state.services
    return found


Here = Annotated[Services, Depends(services)]


def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


async def job_answer(here: Services, job: Job, status: int = 200) -> Response:
    """A job with its result as it is, and where to find it."""
    text = await here.broker.result(job)
    return json(job_view(job, text, splice=raw), status, {"Location": f"/v1/jobs/{job.id}"})


def body_of(model: str) -> dict[str, Any]:
    """The description of a route whose body is this model; the route reads it itself (`body.read`)."""
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
