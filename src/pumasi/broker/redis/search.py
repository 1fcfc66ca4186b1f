"""Finding jobs.

By state, queue and script: a merge of the shelves that are meant, newest first. By what few jobs share (ids, a label, a
parent, how the id begins): those are looked through, a step at a time, so that no search keeps others waiting.
"""

from typing import Any

import msgspec

from pumasi.broker.cursor import decode_cursor, encode_cursor
from pumasi.broker.redis.jobs import label_key, packed
from pumasi.broker.redis.server import Server
from pumasi.core.job import Job, Page, Query

#: jobs that one script looks at
STEP = 5000

_browsed = msgspec.json.Decoder(tuple[list[Job], bool, dict[str, int]])
_sifted = msgspec.json.Decoder(tuple[list[Job], dict[str, int], int])
_news = msgspec.json.Decoder(tuple[list[Job], int])


async def scan(server: Server, query: Query) -> Page:
    """As `Store.scan`."""
    ask = _asked(query)
    if query.ids is not None or query.labels or query.parent is not None or query.prefix:
        return await _sift(server, query, ask)
    if query.changed_after is not None:
        return await _changed(server, ask)
    jobs, more, totals = _browsed.decode(await server.run("browse", packed(ask)))
    return _page(jobs, more, totals)


def _asked(query: Query) -> dict[str, Any]:
    after = decode_cursor(query.cursor) if query.cursor else (None, None)
    ask = {
        "states": [state.value for state in query.states],
        "queue": query.queue,
        "script": query.script,
        "dead": query.dead,
        "labels": [label_key(name, value) for name, value in query.labels.items()],
        "parent": query.parent,
        "since": query.since,
        "prefix": query.prefix or None,
        "ids": query.ids,
        "changed_after": query.changed_after,
        "after_at": after[0],
        "after_id": after[1],
        "limit": query.limit,
        "step": STEP,
    }
    return {name: value for name, value in ask.items() if value is not None}


async def _sift(server: Server, query: Query, ask: dict[str, Any]) -> Page:
    """The best of all steps."""
    found: dict[str, Job] = {}
    totals: dict[str, int] = {}
    first: int | None = None
    while first != 0:
        jobs, counts, first = _sifted.decode(await server.run("sift", packed(ask | {"from": first or 0})))
        found |= {job.id: job for job in jobs}
        totals = {state: totals.get(state, 0) + counts.get(state, 0) for state in {*totals, *counts}}
    if query.changed_after is not None:
        return Page(tuple(sorted(found.values(), key=lambda job: job.change)[: query.limit]), None, {})
    jobs = sorted(found.values(), key=lambda job: (job.created_at, job.id), reverse=True)
    return _page(jobs[: query.limit], len(jobs) > query.limit, totals)


async def _changed(server: Server, ask: dict[str, Any]) -> Page:
    """Those changed after a position: few, unless one asks from the very beginning."""
    found: list[Job] = []
    while True:
        jobs, on = _news.decode(await server.run("news", packed(ask)))
        found += jobs
        if not on:
            return Page(tuple(found), None, {})
        ask = ask | {"changed_after": on, "limit": ask["limit"] - len(jobs)}


def _page(jobs: list[Job], more: bool, totals: dict[str, int]) -> Page:
    return Page(tuple(jobs), encode_cursor(jobs[-1]) if more else None, totals)
