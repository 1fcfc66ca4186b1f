"""Finding jobs: newest first by (created_at, id), which is one field (`born`), or in order of change."""

from typing import Any

from pumasi.broker.cursor import decode_cursor, encode_cursor
from pumasi.broker.mongodb import jobs
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database, among
from pumasi.core.job import Page, Query, State

#: greater than any id that begins with what it is put behind
_END = "\U0010ffff" * 128
_STATES = [state.value for state in State]


async def scan(db: Database, query: Query) -> Page:
    """As `Store.scan`."""
    meant = _conditions(query)
    if query.changed_after is not None:
        return await _changed(db, query, meant, query.changed_after)
    page = {**meant, "state": among([state.value for state in query.states] or _STATES)}
    if query.cursor:
        at, id = decode_cursor(query.cursor)
        page["born"] = {**page.get("born", {}), "$lt": jobs.moment(at) + id}
    found = await db.jobs.find(page).sort([("born", -1)]).limit(query.limit + 1).to_list()
    shown = [jobs.record(job) for job in found[: query.limit]]
    cursor = encode_cursor(shown[-1]) if len(found) > len(shown) else None
    return Page(tuple(shown), cursor, await _totals(db, meant))


def _conditions(query: Query) -> Document:
    """What a query means, its states, order and cursor aside."""
    meant: Document = {
        name: {"$eq": value} for name in ("queue", "script", "parent") if (value := getattr(query, name)) is not None
    }
    if query.since is not None:
        meant["born"] = {"$gte": jobs.moment(query.since)}
    if query.prefix is not None:
        meant["id"] = {"$gte": query.prefix, "$lte": query.prefix + _END}
    if query.ids is not None:
        meant["_id"] = {"$in": list(query.ids)}
    if query.labels:
        meant["labels"] = {"$all": [jobs.label(name, value) for name, value in query.labels.items()]}
    if query.dead:
        meant["dead"] = {"$eq": 1}
    return meant


async def _changed(db: Database, query: Query, meant: Document, after: int) -> Page:
    """Those changed after a position, as far as no earlier change is still to come."""
    horizon = db.board.horizon(await db.board.look())
    states = [state.value for state in query.states] or _STATES
    page = {**meant, "change": {"$gt": after, "$lte": horizon}, "state": among(states)}
    found = await db.jobs.find(page).sort([("change", 1)]).limit(query.limit).to_list()
    return Page(tuple(jobs.record(job) for job in found), None, {})


async def _totals(db: Database, meant: Document) -> dict[str, int]:
    steps: list[dict[str, Any]] = [
        {"$match": {**meant, "state": {"$in": _STATES}}},
        {"$group": {"_id": "$state", "n": {"$sum": 1}}},
    ]
    return {group["_id"]: group["n"] async for group in await db.jobs.aggregate(steps)}
