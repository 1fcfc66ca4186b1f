"""Large things. What fits lies in the blob's own document; else that names a version, and the chunks of it.

    {_id: key, owner: job or digest, kind, size, at, data}      or {…, version}, chunks: {version, n, at, data}

The chunks of a new version are written first; then one update makes the blob point to them, and the chunks of the old
version are removed. A reader that misses a chunk reads the blob anew. Who dies between leaves chunks that no blob
points to: they are removed after an hour.
"""

import os
from collections.abc import AsyncIterator, Mapping, Sequence

from bson import Binary
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database, some_of
from pumasi.errors import Unavailable

CHUNK = 1024 * 1024
#: seconds that writing a blob may take
PATIENCE = 3600.0
#: how often a blob that is replaced while it is read is read again
_TRIES = 100
#: documents that one step looks at
_STEP = 200
#: greater than any text that begins with what it is put behind
_END = "\U0010ffff" * 64


async def put(db: Database, key: str, data: bytes) -> None:
    """Keep `data` under `key`."""
    kind, _, rest = key.partition("/")
    at = db.clock.now()
    known: Document = {"owner": rest.partition("/")[0], "kind": kind, "size": len(data), "at": at}
    if len(data) <= CHUNK:
        await _point(db, key, {"$set": {**known, "data": Binary(data)}, "$unset": {"version": ""}})
        return
    version = os.urandom(12).hex()
    for n, first in enumerate(range(0, len(data), CHUNK)):
        part = Binary(data[first : first + CHUNK])
        await db.chunks.insert_one({"_id": f"{version}/{n}", "version": version, "n": n, "at": at, "data": part})
    await _point(db, key, {"$set": {**known, "version": version}, "$unset": {"data": ""}})


async def get(db: Database, key: str) -> bytes | None:
    """The bytes under `key`, or None."""
    for _ in range(_TRIES):
        found = await db.blobs.find_one({"_id": key})
        if found is None:
            return None
        if "version" not in found:
            return bytes(found["data"])
        data = await _read(db, found["version"])
        if len(data) == found["size"]:
            return data
        # it was replaced while being read: read the new one
    raise Unavailable("the blob {key} is replaced faster than it can be read; try again", key=key)


async def names(db: Database, prefix: str) -> dict[str, int]:
    """Keys that begin with `prefix`, and sizes."""
    query = {"_id": {"$gte": prefix, "$lte": prefix + _END}}
    return {blob["_id"]: blob["size"] async for blob in db.blobs.find(query, {"size": 1}).sort([("_id", 1)])}


async def _point(db: Database, key: str, change: Document) -> None:
    """Make the blob what it is now, and remove what it pointed to before."""
    try:
        before = await _swap(db, key, change)
    except DuplicateKeyError:  # two made it at once: now it is there
        before = await _swap(db, key, change)
    if before is not None and "version" in before:
        await db.chunks.delete_many({"version": {"$eq": before["version"]}})


async def _swap(db: Database, key: str, change: Document) -> Document | None:
    return await db.blobs.find_one_and_update(
        {"_id": key}, change, {"version": 1}, upsert=True, return_document=ReturnDocument.BEFORE
    )


async def _read(db: Database, version: str) -> bytes:
    data = bytearray()
    async for chunk in db.chunks.find({"version": {"$eq": version}}).sort([("n", 1)]):
        data += chunk["data"]
    return bytes(data)


# -- forgetting ---------------------------------------------------------------------------------------------------


async def forget_of(db: Database, jobs: Sequence[str]) -> None:
    """Remove the blobs of these jobs."""
    query = {"owner": {"$in": list(jobs)}, "kind": {"$ne": "script"}}
    await _remove(db, await db.blobs.find(query, {"version": 1}).to_list())


async def forget_rest(db: Database, strays_before: float, scripts_before: float, now: float) -> None:
    """Remove blobs that nobody needs: bundles of no job, what jobs that are gone have left, chunks of no blob."""
    async for some in _pages(db, {"kind": {"$eq": "script"}, "at": {"$lt": scripts_before}}):
        await _remove(db, [blob for blob in some if not await _is_used(db, blob["owner"])])
    async for some in _pages(db, {"kind": {"$ne": "script"}, "at": {"$lt": strays_before}}):
        owners = sorted({blob["owner"] for blob in some})
        found = await db.jobs.find({"_id": {"$in": owners}}, {"_id": 1}).to_list()
        kept = {job["_id"] for job in found}
        await _remove(db, [blob for blob in some if blob["owner"] not in kept])
    await _forget_chunks(db, now - PATIENCE)


async def _is_used(db: Database, digest: str) -> bool:
    return await db.jobs.find_one({"digest": {"$eq": digest}}, {"_id": 1}) is not None


async def _pages(db: Database, query: Document) -> AsyncIterator[list[Document]]:
    """The blobs that match, some at a time, in order of their keys."""
    after = ""
    while True:
        page = {**query, "_id": {"$gt": after}}
        some = await db.blobs.find(page, {"owner": 1, "version": 1}).sort([("_id", 1)]).limit(_STEP).to_list()
        if not some:
            return
        after = some[-1]["_id"]
        yield some


async def _forget_chunks(db: Database, before: float) -> None:
    firsts = await db.chunks.find({"n": {"$eq": 0}, "at": {"$lt": before}}, {"version": 1}).to_list()
    for some in some_of(firsts, _STEP):
        versions = [chunk["version"] for chunk in some]
        found = await db.blobs.find({"version": {"$in": versions}}, {"version": 1}).to_list()
        kept = {blob["version"] for blob in found}
        for version in versions:
            if version not in kept:
                await db.chunks.delete_many({"version": {"$eq": version}})


async def _remove(db: Database, blobs: Sequence[Mapping[str, str]]) -> None:
    if not blobs:
        return
    await db.blobs.delete_many({"_id": {"$in": [blob["_id"] for blob in blobs]}})
    if versions := [blob["version"] for blob in blobs if "version" in blob]:
        await db.chunks.delete_many({"version": {"$in": versions}})
