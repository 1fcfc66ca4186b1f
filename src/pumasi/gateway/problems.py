"""Errors as answers: which class has which status, and in which language it is told.

The body is always `Error.to_wire()`: the class name, a message for people, and the message id with its details, of
which a client makes the same error again.
"""

import math
from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from pumasi import errors
from pumasi.locale import LANGUAGES

#: the first that fits counts
STATUS: tuple[tuple[type[errors.Error], int], ...] = (
    (errors.Denied, 401),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.LeaseLost, 409),
    (errors.Invalid, 422),
    (errors.QueueFull, 429),
    (errors.Unavailable, 503),
    (errors.FetchFault, 503),
    (errors.WaitTimeout, 504),
    (errors.Error, 500),
)


class Refused(Exception):
    """An error that is answered with a status of its own (413, 415, 421 …)."""

    def __init__(self, status: int, error: errors.Error) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error


def answer(error: errors.Error, *, language: str | None = None, status: int | None = None) -> Response:
    """The answer that tells of an error."""
    status = status or next(code for kind, code in STATUS if isinstance(error, kind))
    headers: dict[str, str] = {"Content-Language": language} if language else {}
    if isinstance(error, errors.QueueFull):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="pumasi"'
    if status == 503:
        headers["Retry-After"] = "1"
    body = msgspec.json.encode(error.to_wire(language), enc_hook=str)
    return Response(body, status, headers, media_type="application/json")


def language_of(headers: Mapping[str, str]) -> str | None:
    """The language of ours that `Accept-Language` likes best; None: ours to choose."""
    best, liking = None, 0.0
    for part in headers.get("accept-language", "").split(","):
        tag, _, weight = part.strip().partition(";")
        name = tag.split("-")[0].lower()
        q = _weight(weight)
        if name in LANGUAGES and q > liking:
            best, liking = name, q
    return best


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=")) if text.strip() else 1.0
    except ValueError:
        return 0.0
