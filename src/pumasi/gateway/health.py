"""Is it up (`/healthz`), can it work (`/readyz`), how does it fare (`/metrics`), what can it do (`/docs`)."""

import asyncio

from fastapi import APIRouter, Request, Response

import pumasi
from pumasi.errors import Unavailable
from pumasi.gateway.docs import docs_page
from pumasi.gateway.metrics import CONTENT_TYPE, Metrics
from pumasi.gateway.services import Here, json

router = APIRouter(tags=["operation"])

#: seconds within which a broker that works answers
_PATIENCE = 5.0


@router.get("/healthz")
async def healthz() -> Response:
    """200 while the gateway answers at all. Needs no token."""
    return json({"status": "ok", "version": pumasi.__version__})


@router.get("/readyz")
async def readyz(here: Here) -> Response:
    """200 when jobs can be taken in, with `concerns` when something weakens a promise; 503 with the part that fails."""
    if here.draining.is_set():
        return _failing("gateway", Unavailable("the gateway is about to stop"))
    try:
        async with asyncio.timeout(_PATIENCE):
            await here.broker.position()
    except Unavailable as error:
        return _failing("broker", error)
    except TimeoutError:
        return _failing("broker", Unavailable("the broker has not answered for {seconds} s", seconds=_PATIENCE))
    concerns = [concern.to_wire() for concern in here.broker.concerns()]
    return json({"status": "ok"} | ({"concerns": concerns} if concerns else {}))


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    found: Metrics = request.app.state.metrics
    return Response(await found.exposition(), media_type=CONTENT_TYPE)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    """The description of the API as a page that needs neither a script nor the internet."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(docs_page(request.app.openapi()), headers=headers, media_type="text/html")


def _failing(part: str, error: Unavailable) -> Response:
    return json({"status": "unavailable", "part": part, **error.to_wire()}, 503, {"Retry-After": "1"})
