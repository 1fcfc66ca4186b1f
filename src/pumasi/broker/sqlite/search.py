"""Finding jobs: every condition is served by an index, and every page is read from the newest on.

The indexes begin with the state, of which there are five: a query that names none asks for each of them. Conditions
that few jobs meet (labels, ids, parent) have indexes of their own; a `+` before the others keeps SQLite, which does not
know how many there are, from preferring those. Totals come from the tally where it can tell, else matches are counted.
"""

from typing import Any

from pumasi.broker.cursor import decode_cursor, encode_cursor
from pumasi.broker.sqlite.database import Database, Row
from pumasi.broker.sqlite.jobs import RECORD, json, record
from pumasi.core.job import Job, Page, Query, State

#: greater than any id that begins with what it is put behind
_END = "\U0010ffff" * 128
#: characters of an id that few others begin with
_TELLING = 8

_Conditions = list[tuple[str, dict[str, Any]]]


def scan(db: Database, query: Query) -> Page:
    """As `Store.scan`."""
    rare = _rare(query)
    meant = rare + _common(query, "+" if rare else "")
    if query.changed_after is not None:
        return Page(tuple(_changed(db, query, meant, query.changed_after)), None, {})
    before = [_before(query.cursor)] if query.cursor else []
    found = [job for state in _states(query) for job in _newest(db, [*meant, *before], state, query.limit + 1, rare)]
    found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
    page = found[: query.limit]
    cursor = encode_cursor(page[-1]) if len(found) > len(page) else None
    return Page(tuple(page), cursor, _totals(db, query, meant, rare))


def _states(query: Query) -> list[State]:
    wanted = query.states or tuple(State)
    return [state for state in wanted if state is State.FAILED or not query.dead]


def _rare(query: Query) -> _Conditions:
    """What a query says that few jobs meet."""
    conditions: _Conditions = []
    if query.parent is not None:
        conditions.append(("job.parent = :parent", {"parent": query.parent}))
    if query.prefix and len(query.prefix) >= _TELLING:
        conditions.append(_begins(query.prefix, ""))
    if query.ids is not None:
        conditions.append(("job.id IN (SELECT value FROM json_each(:ids))", {"ids": json(query.ids)}))
    for n, (name, value) in enumerate(query.labels.items()):
        labelled = f"job.seq IN (SELECT job FROM label WHERE name = :name{n} AND value = :value{n})"  # noqa: S608
        conditions.append((labelled, {f"name{n}": name, f"value{n}": value}))
    return conditions


def _common(query: Query, plus: str) -> _Conditions:
    """What else it says, its states, order and cursor aside."""
    conditions: _Conditions = [
        (f"{plus}job.{name} = :{name}", {name: value})
        for name in ("queue", "script")
        if (value := getattr(query, name)) is not None
    ]
    if query.prefix and len(query.prefix) < _TELLING:
        conditions.append(_begins(query.prefix, "+"))
    if query.dead:
        conditions.append(("job.state = 'failed' AND job.resolved IS NULL", {}))
    if query.since is not None:
        conditions.append((f"{plus}job.created_at >= :since", {"since": query.since}))
    return conditions


def _begins(prefix: str, plus: str) -> tuple[str, dict[str, Any]]:
    return f"{plus}job.id >= :first AND {plus}job.id <= :last", {"first": prefix, "last": prefix + _END}


def _before(cursor: str) -> tuple[str, dict[str, Any]]:
    at, id = decode_cursor(cursor)
    return "(job.created_at, job.id) < (:at, :id)", {"at": at, "id": id}


def _newest(db: Database, conditions: _Conditions, state: State, limit: int, rare: _Conditions) -> list[Job]:
    plus = "+" if rare else ""
    conditions = [*conditions, (f"{plus}job.state = :state", {"state": state.value})]
    end = "ORDER BY job.created_at DESC, job.id DESC LIMIT :limit"
    return [record(row) for row in _select(db, RECORD, conditions, end, limit=limit)]


def _changed(db: Database, query: Query, conditions: _Conditions, after: int) -> list[Job]:
    """Those changed after a position: few, unless one asks from the very beginning."""
    known = query.ids is not None
    source = RECORD if known else RECORD.replace("FROM job ", "FROM job INDEXED BY job_change ")
    conditions = [*conditions, (f"{'+' if known else ''}job.change > :after", {"after": after})]
    if query.states:
        states = json(state.value for state in query.states)
        conditions.append(("+job.state IN (SELECT value FROM json_each(:states))", {"states": states}))
    rows = _select(db, source, conditions, "ORDER BY job.change LIMIT :limit", limit=query.limit)
    return [record(row) for row in rows]


def _totals(db: Database, query: Query, conditions: _Conditions, rare: _Conditions) -> dict[str, int]:
    if rare:
        rows = _select(db, "SELECT job.state, count(*) FROM job", conditions, "GROUP BY +job.state")
    elif query.since is not None or query.prefix or query.dead:
        rows = _select(db, "SELECT job.state, count(*) FROM job", conditions, "GROUP BY job.state")
    else:
        rows = _select(db, "SELECT job.state, sum(n) FROM tally AS job", conditions, "GROUP BY job.state")
    return {state: n for state, n in rows if n}


def _select(db: Database, select: str, conditions: _Conditions, end: str, **values: Any) -> list[Row]:
    where = " AND ".join(f"({condition})" for condition, _ in conditions)
    for _, bound in conditions:
        values |= bound
    return db.connection.execute(f"{select} {f'WHERE {where}' if where else ''} {end}", values).fetchall()
