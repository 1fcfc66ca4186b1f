"""The gateway as an ASGI app: routes over a broker, a guard in front, errors as answers.

It keeps nothing of a job: whatever it is asked, it asks the broker. So any number of gateways may stand before one
broker, and a restart loses nothing; callers that wait ask again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

import pumasi
from pumasi.broker import Broker
from pumasi.errors import Error, Invalid, NotFound
from pumasi.gateway import health, jobs, streams, things
from pumasi.gateway.auth import Guard, check_access, is_loopback, own_names
from pumasi.gateway.metrics import Metrics
from pumasi.gateway.problems import Refused, answer, language_of
from pumasi.gateway.schemas import DESCRIBED
from pumasi.gateway.services import Services
from pumasi.intake.fields import bad_fields
from pumasi.log import get_logger
from pumasi.scripts.base import Repository

log = get_logger(__name__)

_ABOUT = (
    "Runs Python scripts as isolated, supervised jobs. Send `Authorization: Bearer TOKEN` with every call; "
    "what goes wrong is told as {error, message, text, details}, in the language of Accept-Language."
)


class Gateway(FastAPI):
    """The app; its description knows the bodies that routes read by themselves."""

    def openapi(self) -> dict[str, Any]:
        """The description of the API, made once."""
        if self.openapi_schema is None:
            schema = super().openapi()
            _, named = models_json_schema(
                [(model, "validation") for model in DESCRIBED], ref_template="#/components/schemas/{model}"
            )
            parts = schema.setdefault("components", {})
            parts.setdefault("schemas", {}).update(named["$defs"])
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}]
        return super().openapi()


def create_app(
    broker: Broker,
    repository: Repository,
    *,
    token: str | None,
    open_access: bool = False,
    host: str = "127.0.0.1",
    hosts: Iterable[str] = (),
) -> Gateway:
    """The app over an open broker, answering under the address `host` and the further names `hosts`.

    Raises:
        BadSetting: no token and not `open_access`, or open access on an address that others reach.
    """
    check_access(host, token=token, open_access=open_access)
    app = Gateway(
        title="Pumasi",
        version=pumasi.__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.services = Services(broker, repository)
    app.state.metrics = Metrics(broker)
    app.add_middleware(Guard, token=token, hosts=own_names(host, hosts), any_address=not is_loopback(host))
    for routes in (jobs, streams, things, health):
        app.include_router(routes.router)
    for kind in (Error, Refused, RequestValidationError, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _answered)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    observer = asyncio.create_task(app.state.metrics.observe())
    try:
        yield
    finally:
        observer.cancel()
        with suppress(asyncio.CancelledError):
            await observer


async def _answered(request: Request, error: Exception) -> Response:
    language = language_of(request.headers)
    match error:
        case Error():
            return answer(error, language=language)
        case Refused(status=status, error=reason):
            return answer(reason, status=status, language=language)
        case RequestValidationError():
            return answer(bad_fields(error.errors(), skip=1), language=language)
        case ClientDisconnect():
            return Response(status_code=499)  # nobody reads it
        case HTTPException(status_code=404):
            text = "there is nothing at {path}; /docs lists what there is"
            return answer(NotFound(text, path=request.url.path[:200]), language=language)
        case HTTPException(status_code=status):
            text = "{method} is not possible at {path}; /docs lists what is"
            problem = Invalid(text, method=request.method, path=request.url.path[:200])
            return answer(problem, status=status, language=language)
    log.error("gateway.failed", path=request.url.path, exc_info=error)
    return answer(Error(), language=language)
