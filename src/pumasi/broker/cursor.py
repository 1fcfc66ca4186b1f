"""Cursors of pages: opaque to callers, the place of a job in the order (created_at, id) to us."""

from msgspec import DecodeError, Struct, json

from pumasi.core.job import Job
from pumasi.errors import Invalid


class _Cursor(Struct, array_like=True):
    created_at: float
    id: str


def encode_cursor(job: Job) -> str:
    """Where the page that ends with this job goes on."""
    return json.encode(_Cursor(job.created_at, job.id)).hex()


def decode_cursor(cursor: str) -> tuple[float, str]:
    """The (created_at, id) a page goes on after. Raises: Invalid."""
    try:
        last = json.decode(bytes.fromhex(cursor), type=_Cursor)
    except (ValueError, DecodeError) as error:
        raise Invalid("this cursor is none of ours; use one that a page gave you") from error
    return last.created_at, last.id
