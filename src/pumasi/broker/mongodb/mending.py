"""Looking after the documents of other programs: what a claim or an ending that did not come to its end has left."""

import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pumasi.broker.mongodb import classic, documents, outlet
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.classic import PENDING, RUNNING
from pumasi.broker.mongodb.database import Database
from pumasi.core import lifecycle
from pumasi.errors import Invalid

#: seconds between two looks of a process
_MEND = 60.0
#: records, and documents, of one look
_MOST = 100


async def mend(db: Database) -> None:
    """Tell what was not told, and make records again that are missing; now and then."""
    steady = time.monotonic()
    if steady - db.mended < _MEND or db.clock.calm():
        return
    db.mended = steady
    untold = await db.jobs.find({"untold": {"$eq": 1}}, {"_id": 1}).limit(_MOST).to_list()
    for record in untold:
        await outlet.tell_one(db, record["_id"])
    now = db.clock.now()
    lapsed = {"status": {"$eq": RUNNING}, "pumasi.lease_until": {"$lte": now}}
    for document in await db.classic.find(lapsed, dict.fromkeys(classic.FIELDS, 1)).limit(_MOST).to_list():
        if classic.is_ours(document):
            await _mend(db, document, now)


async def _mend(db: Database, document: Document, now: float) -> None:
    """A document whose lease is over, as far as it says itself."""
    mark = classic.mark_of(document)
    record = await db.jobs.find_one({"_id": mark.get("job")}, {"state": 1, "token": 1, "lease_until": 1})
    if record is None:
        await _remake(db, document, mark, now)
    elif record["state"] != RUNNING:
        await outlet.tell_one(db, record["_id"], given_up=mark["token"])
    elif record.get("token") == mark["token"] and record["lease_until"] > now:
        key = classic.packed(document["_id"])
        await outlet.prolong(db, {key: mark["token"]}, record["lease_until"])


async def _remake(db: Database, document: Document, mark: Mapping[str, Any], now: float) -> None:
    """Its claim did not come so far as to make the record: it is one whose lease has lapsed."""
    try:
        entry = classic.entry(document, now)
    except Invalid as error:
        await documents.refuse(db, document, {"pumasi.token": {"$eq": mark["token"]}}, error, now)
        return
    until = float(mark["lease_until"])
    waited, worker, token = documents.first(entry, now), str(mark.get("worker")), mark["token"]
    job = lifecycle.claimed(waited, worker=worker, claim_id=None, token=token, now=until, lease=0.0)
    async with db.board.flight(1) as flight:
        await documents.insert(db, entry, replace(job, revision=1, change=flight.numbers[0]))


async def check(db: Database) -> None:
    """Look after the jobs whose documents wait: these may have been removed, or taken by another program."""
    waiting = {"state": {"$eq": "pending"}, "queue": {"$eq": classic.QUEUE}, "document": {"$exists": True}}
    for record in await db.jobs.find(waiting, {"_id": 1}).limit(_MOST).to_list():
        await outlet.tell_one(db, record["_id"])


async def waiting(db: Database) -> int:
    """How many documents wait of which there is no record yet."""
    n = await db.classic.count_documents({"status": {"$eq": PENDING}})
    if n:
        noted = {"state": {"$eq": "pending"}, "queue": {"$eq": classic.QUEUE}, "document": {"$exists": True}}
        n -= await db.count(noted)
    return max(0, n)
