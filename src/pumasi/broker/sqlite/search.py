"""Finding jobs: every condition is served by an index, and every page is read from the newest on.

The indexes begin with the state, of which there are five: a query that names none asks for each of them. Totals come
from the tally where it can tell, else matches are counted.
"""

from typing import Any

from pumasi.broker.cursor import decode_cursor, encode_cursor
from pumasi.broker.sqlite.database import Database, Row
from pumasi.broker.sqlite.jobs import json, record
from pumasi.core.job import Job, Page, Query, State

_SELECT = """
SELECT body.record, job.state, job.attempt, job.worker, job.claim_id, job.token, job.lease_until, job.claimed_at,
       job.started_at, job.cancel_requested, job.progress, job.created_at, job.run_at, job.revision, job.change
FROM job JOIN body ON body.job = job.seq
"""
#: greater than any id that begins with what it is put behind
_END = "\U0010ffff" * 128

_Conditions = list[tuple[str, dict[str, Any]]]


def scan(db: Database, query: Query) -> Page:
    """As `Store.scan`."""
    meant = _conditions(query)
    if query.changed_after is not None:
        return Page(tuple(_changed(db, query, meant, query.changed_after)), None, {})
    before = [_before(query.cursor)] if query.cursor else []
    found = [
        job
        for state in query.states or State
        for job in _newest(db, [*meant, *before, ("job.state = :state", {"state": state.value})], query.limit + 1)
    ]
    found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
    page = found[: query.limit]
    cursor = encode_cursor(page[-1]) if len(found) > len(page) else None
    return Page(tuple(page), cursor, _totals(db, query, meant))


def _conditions(query: Query) -> _Conditions:
    """What a query means, its states, order and cursor aside."""
    conditions: _Conditions = [
        (f"job.{name} = :{name}", {name: value})
        for name in ("queue", "script", "parent")
        if (value := getattr(query, name)) is not None
    ]
    if query.since is not None:
        conditions.append(("job.created_at >= :since", {"since": query.since}))
    if query.prefix is not None:
        bounds = {"first": query.prefix, "last": query.prefix + _END}
        conditions.append(("job.id >= :first AND job.id <= :last", bounds))
    if query.ids is not None:
        conditions.append(("job.id IN (SELECT value FROM json_each(:ids))", {"ids": json(query.ids)}))
    for n, (name, value) in enumerate(query.labels.items()):
        labelled = f"job.seq IN (SELECT job FROM label WHERE name = :name{n} AND value = :value{n})"  # noqa: S608
        conditions.append((labelled, {f"name{n}": name, f"value{n}": value}))
    return conditions


def _before(cursor: str) -> tuple[str, dict[str, Any]]:
    at, id = decode_cursor(cursor)
    return "(job.created_at, job.id) < (:at, :id)", {"at": at, "id": id}


def _newest(db: Database, conditions: _Conditions, limit: int) -> list[Job]:
    rows = _select(db, _SELECT, conditions, " ORDER BY job.created_at DESC, job.id DESC LIMIT :limit", limit=limit)
    return [record(row) for row in rows]


def _changed(db: Database, query: Query, conditions: _Conditions, after: int) -> list[Job]:
    conditions = [*conditions, ("job.change > :after", {"after": after})]
    if query.states:
        states = json(state.value for state in query.states)
        conditions.append(("job.state IN (SELECT value FROM json_each(:states))", {"states": states}))
    rows = _select(db, _SELECT, conditions, " ORDER BY job.change LIMIT :limit", limit=query.limit)
    return [record(row) for row in rows]


def _totals(db: Database, query: Query, conditions: _Conditions) -> dict[str, int]:
    table, count = "job", "count(*)"
    if not (query.labels or query.parent or query.since or query.prefix or query.ids is not None):
        table, count = "tally AS job", "sum(n)"
    rows = _select(db, f"SELECT job.state, {count} FROM {table}", conditions, " GROUP BY job.state")  # noqa: S608
    return {state: n for state, n in rows if n}


def _select(db: Database, select: str, conditions: _Conditions, end: str, **values: Any) -> list[Row]:
    where = " AND ".join(f"({condition})" for condition, _ in conditions)
    for _, bound in conditions:
        values |= bound
    sql = select + (f" WHERE {where}" if where else "") + end
    return db.connection.execute(sql, values).fetchall()
