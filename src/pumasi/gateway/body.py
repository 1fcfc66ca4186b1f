"""Reading what a caller sends: JSON only, strict, and not endless."""

import asyncio
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from pumasi.core import strict
from pumasi.errors import Invalid
from pumasi.gateway.problems import Refused
from pumasi.intake.fields import bad_fields

#: bytes of a body; parameters alone may have 1 MiB once compact
MAX_BODY = 8 * 1024 * 1024
#: above this, reading JSON would hold up everybody else
_LARGE = 128 * 1024

Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request, model: type[Model]) -> Model:
    """The body as a model.

    Raises:
        Refused: 415 it is no JSON by its type, 413 it is too long.
        BadFields, Invalid: what is wrong with it, each field named.
    """
    value = await read_json(request)
    if not isinstance(value, dict):
        raise Invalid("the body must be a JSON object")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise bad_fields(error.errors(include_url=False)) from error


async def read_if_any(request: Request, model: type[Model]) -> Model:
    """As `read`; without a body, what the model says by itself."""
    empty = request.headers.get("content-length", "") in ("", "0") and "transfer-encoding" not in request.headers
    return model() if empty else await read(request, model)


async def read_json(request: Request) -> Any:
    """The body as a value. Raises: as `read`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, Invalid("the body must be JSON: send Content-Type: application/json"))
    data = await _bytes(request)
    try:
        return await asyncio.to_thread(strict.loads, data) if len(data) > _LARGE else strict.loads(data)
    except strict.NotStrict as error:
        raise Invalid("the body is not strict JSON: {why}", why=str(error)) from error
    except ValueError as error:
        raise Invalid("the body is no JSON: {why}", why=str(error)) from error


async def _bytes(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise _too_long()
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise _too_long()
    return bytes(data)


def _too_long() -> Refused:
    return Refused(413, Invalid("the body is too long; at most {limit} bytes are taken", limit=MAX_BODY))
