"""Steps on documents of other programs, and on the records made from them."""

from collections.abc import Mapping
from typing import Any

from bson import Binary
from msgspec.structs import replace
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure, WTimeoutError

from pumasi.broker.mongodb import classic, jobs, wording
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.classic import COMPLETED, FAILED, Entry
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.gate import TOO_LARGE
from pumasi.broker.mongodb.wording import Ending
from pumasi.core import lifecycle
from pumasi.core.job import Job
from pumasi.errors import Invalid


async def write(db: Database, same: Document, sets: Mapping[str, Any], line: str | None) -> Document | None:
    """Change a document, if it still is as `same` says, and add a line to its logs, whatever they are."""
    now = {"updated_at": True} | ({"completed_at": True} if sets["status"] in (COMPLETED, FAILED) else {})
    change: Document = {"$set": dict(sets), "$currentDate": now}
    if line is None:
        return await _write(db, same, change)
    try:
        return await _write(db, same, {**change, "$push": {"logs": line}})
    except WTimeoutError:
        raise
    except OperationFailure as error:
        found = await db.classic.find_one({"_id": same["_id"]}, {"logs": 1})
        known = None if found is None else found.get("logs")
        if isinstance(known, list) and error.code not in TOO_LARGE:
            raise
    if not isinstance(known, list):
        change["$set"]["logs"] = [line] if known is None else [known, line]
    # else it has no room for a line: what became of it matters more
    return await _write(db, same, change)


async def _write(db: Database, same: Document, change: Document) -> Document | None:
    fields = dict.fromkeys(classic.FIELDS, 1)
    return await db.classic.find_one_and_update(same, change, fields, return_document=ReturnDocument.AFTER)


def completed(mark: Document) -> Document:
    """What is set in a document whose job has completed."""
    return {"status": COMPLETED, "error": None, "pumasi": mark}


def failed(said: Ending, mark: Document) -> Document:
    """What is set in one whose job has not."""
    return {"status": FAILED, "error": said.error, "pumasi": mark}


async def refuse(db: Database, document: Document, still: Document, error: Invalid, now: float) -> None:
    """Make a document failed that cannot be run."""
    said = wording.refusal(error.in_words("en"), now)
    ended = {"ended": classic.times_ended(document) + 1}
    await write(db, {"_id": {"$eq": document["_id"]}, **still}, failed(said, ended), said.line)


# -- records ------------------------------------------------------------------------------------------------------


def first(entry: Entry, now: float) -> Job:
    """The record of a document that nothing was known of."""
    return replace(lifecycle.submitted(entry.job, now), created_at=entry.created, run_at=entry.due)


async def insert(db: Database, entry: Entry, job: Job) -> Job | None:
    """Store the record of a document; None when there is one."""
    try:
        await db.jobs.insert_one({**jobs.document(job), "document": Binary(classic.packed(entry.key))})
    except DuplicateKeyError:
        return None
    return job
