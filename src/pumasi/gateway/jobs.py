"""`/v1/jobs`: submit, look, find, cancel, retry."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from pumasi.gateway.body import read, read_if_any
from pumasi.gateway.schemas import AgainRequest, BatchRequest, Filters, JobView, PageView, Wait
from pumasi.gateway.services import Here, body_of, job_answer, json
from pumasi.gateway.waiting import wait_for_end
from pumasi.intake import JobRequest, locate
from pumasi.views import job_view, page_view, raw

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

WaitParameter = Annotated[Wait, Query(description="seconds to wait for the end: 200 when it came, 202 when not")]
KeyHeader = Annotated[str | None, Header(description="the same key again is answered with the first job")]


@router.post("", status_code=201, response_model=JobView, openapi_extra=body_of("JobRequest"))
async def submit(
    request: Request, here: Here, wait: WaitParameter = 0.0, idempotency_key: KeyHeader = None
) -> Response:
    """Take a job in: 201 once it is kept, 200 when it was there already. With `wait`, 200 ended or 202 not yet."""
    asked = await read(request, JobRequest)
    taken = await here.intake.take(asked, idempotency_key=idempotency_key)
    if not wait:
        return await job_answer(here, taken.job, 201 if taken.fresh else 200)
    job = await wait_for_end(request, here.broker, taken.job, wait, here.draining)
    return await job_answer(here, job, 200 if job.ended else 202)


@router.post("/batch", status_code=201, openapi_extra=body_of("BatchRequest"))
async def submit_batch(request: Request, here: Here) -> Response:
    """Take up to 1000 jobs in, all or none: `{jobs: […]}` in the order of the request."""
    asked = await read(request, BatchRequest)
    jobs = await here.intake.submit_many(asked.jobs)
    return json({"jobs": [job_view(job, splice=raw) for job in jobs]}, 201)


@router.get("", response_model=PageView)
async def find(here: Here, filters: Annotated[Filters, Query()]) -> Response:
    """Jobs that are kept, newest first."""
    return json(page_view(await here.broker.find(filters.query()), splice=raw))


@router.get("/{id}", response_model=JobView)
async def get(request: Request, here: Here, id: str, wait: WaitParameter = 0.0) -> Response:
    """A job by its id, or by the beginning of it that no other has. With `wait`, 200 ended or 202 not yet."""
    job = await locate(here.broker, id)
    if not wait:
        return await job_answer(here, job)
    job = await wait_for_end(request, here.broker, job, wait, here.draining)
    return await job_answer(here, job, 200 if job.ended else 202)


@router.post("/{id}/cancel", response_model=JobView)
async def cancel(here: Here, id: str) -> Response:
    """Cancel: at once when it waits; when it runs, its worker is told; nothing when it has ended."""
    job = await locate(here.broker, id)
    return await job_answer(here, await here.broker.cancel(job.id))


@router.post("/{id}/retry", status_code=201, response_model=JobView, openapi_extra=body_of("AgainRequest"))
async def retry(request: Request, here: Here, id: str, idempotency_key: KeyHeader = None) -> Response:
    """A new job that asks for the same as one that has ended, or with other parameters; `parent` names that one."""
    asked = await read_if_any(request, AgainRequest)
    job = await here.intake.retry(id, parameters=asked.parameters, idempotency_key=idempotency_key)
    return await job_answer(here, job, 201)


@router.post("/{id}/requeue", status_code=201, response_model=JobView, openapi_extra=body_of("AgainRequest"))
async def requeue(request: Request, here: Here, id: str) -> Response:
    """Retry a dead letter; asked for again, the answer is the job that it made."""
    asked = await read_if_any(request, AgainRequest)
    return await job_answer(here, await here.intake.requeue(id, parameters=asked.parameters), 201)


@router.post("/{id}/discard", response_model=JobView)
async def discard(here: Here, id: str) -> Response:
    """A dead letter is one no more; its record stays for its retention time."""
    return await job_answer(here, await here.intake.discard(id))
