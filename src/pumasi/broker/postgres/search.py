"""Finding jobs: one statement for a page and its totals.

Every condition is served by an index, and every page is read from the newest on. The indexes begin with the state: a
query that names none asks for each. Conditions that few jobs meet (ids, parent, labels, most of an id) come first of
all, and what they leave is sorted. Totals come from the tally where it can tell, else matches are counted.
"""

from typing import Any

from pumasi.broker.cursor import decode_cursor, encode_cursor
from pumasi.broker.postgres.pool import Pool
from pumasi.broker.postgres.records import digest, record, shown
from pumasi.core.job import Page, Query, State

#: greater than any id that begins with what it is put behind
_END = "\U0010ffff"
#: characters of an id that few others begin with
_TELLING = 8

#: jobs of a state; a job that has not ended runs when it has a row in run
_SOURCES = {
    State.PENDING: "pumasi.job WHERE job.state = 'pending' "
    "AND NOT EXISTS (SELECT FROM pumasi.run WHERE run.job = job.seq)",
    State.RUNNING: "pumasi.run JOIN pumasi.job ON job.seq = run.job WHERE job.state = 'pending'",
    State.COMPLETED: "pumasi.job WHERE job.state = 'completed'",
    State.FAILED: "pumasi.job WHERE job.state = 'failed'",
    State.CANCELLED: "pumasi.job WHERE job.state = 'cancelled'",
}
_NEWEST = "ORDER BY created_at DESC, id DESC LIMIT %(limit)s"


async def scan(pool: Pool, query: Query) -> Page:
    """As `Store.scan`."""
    if query.changed_after is not None:
        rows = await pool.ask("changed", _changed(query, query.changed_after))
        return Page(tuple(record(row) for row in rows), None, {})
    values = _values(query)
    text = f"""
        WITH {_found(query)}, totals AS ({_totals(query)}),
        page AS (SELECT found.seq FROM found JOIN pumasi.job ON job.seq = found.seq {_NEWEST})
        SELECT (SELECT coalesce(json_object_agg(state, n), '{{}}') FROM totals WHERE n > 0), known.*
        FROM (SELECT) AS one LEFT JOIN
            (page JOIN pumasi.record AS known ON known.seq = page.seq) ON true
        ORDER BY known.created_at DESC, known.id DESC"""  # noqa: S608
    rows = await pool.run(pool.queries.of(text), values)
    found = [record(row[1:]) for row in rows if row[1] is not None]
    page = found[: query.limit]
    cursor = encode_cursor(page[-1]) if len(found) > len(page) else None
    return Page(tuple(page), cursor, rows[0][0])


def _changed(query: Query, after: int) -> dict[str, Any]:
    return _values(query) | {
        "after": after,
        "limit": query.limit,
        "states": [state.value for state in query.states] or None,
        "queue": query.queue,
        "script": None if query.script is None else shown(query.script),
        "since": query.since,
        "prefix": query.prefix,
        "ids": None if query.ids is None else list(query.ids),
        "labels": _labels(query) or None,
        "dead": query.dead,
    }


def _values(query: Query) -> dict[str, Any]:
    values: dict[str, Any] = {
        "queue": query.queue,
        "script": None if query.script is None else shown(query.script),
        "since": query.since,
        "first": query.prefix,
        "last": None if query.prefix is None else query.prefix + _END,
        "ids": None if query.ids is None else list(query.ids),
        "parent": None if query.parent is None else digest("parent", query.parent),
        "labels": _labels(query),
        "n_labels": len(query.labels),
        "limit": query.limit + 1,
    }
    if query.cursor:
        at, id = decode_cursor(query.cursor)
        values |= {"cursor_at": at, "cursor_id": id}
    return values


def _labels(query: Query) -> list[str]:
    return [digest("label", *label) for label in query.labels.items()]


def _found(query: Query) -> str:
    """What the page is taken from: jobs that match, by state each the newest; or all that are few."""
    beyond = " AND (job.created_at, job.id) < (%(cursor_at)s, %(cursor_id)s)" if query.cursor else ""
    conditions = _conditions(query) + beyond
    if _rare(query):
        states = ", ".join(f"'{state.value}'" for state in query.states or State)
        page = f"SELECT seq FROM few AS job WHERE state IN ({states}){beyond}"  # noqa: S608
        return f"few AS MATERIALIZED ({_few(query)}), found AS ({page})"
    if query.dead:
        states_meant = [State.FAILED] if State.FAILED in (query.states or State) else []
    else:
        states_meant = list(query.states or State)
    newest = "ORDER BY job.created_at DESC, job.id DESC LIMIT %(limit)s"
    parts = [f"(SELECT job.seq FROM {_SOURCES[state]}{conditions} {newest})" for state in states_meant]  # noqa: S608
    return f"found AS ({' UNION ALL '.join(parts or ['SELECT seq FROM pumasi.job WHERE false'])})"  # noqa: S608


def _rare(query: Query) -> bool:
    """Whether the query says something that few jobs meet."""
    return bool(
        query.parent is not None
        or query.ids is not None
        or query.labels
        or (query.prefix and len(query.prefix) >= _TELLING)
    )


def _few(query: Query) -> str:
    """All that match, whatever their state; labels first, so that no other index is preferred."""
    source = "pumasi.job"
    if query.labels:
        source = """(SELECT job AS seq FROM pumasi.label WHERE label = ANY (%(labels)s::uuid[])
            GROUP BY job HAVING count(*) = %(n_labels)s) AS labelled JOIN pumasi.job USING (seq)"""
    return f"""
        SELECT job.seq, job.created_at, job.id, CASE WHEN run.job IS NULL THEN job.state ELSE 'running' END AS state
        FROM {source} LEFT JOIN pumasi.run ON run.job = job.seq
        WHERE true{_conditions(query)}"""  # noqa: S608


def _conditions(query: Query) -> str:
    """What a query says, its states, labels and cursor aside."""
    conditions = {
        "job.queue = %(queue)s": query.queue is not None,
        '"left"(job.script, 100) = "left"(%(script)s, 100) AND job.script = %(script)s': query.script is not None,
        "job.parent = %(parent)s::uuid": query.parent is not None,
        "job.id = ANY (%(ids)s::text[])": query.ids is not None,
        "job.id >= %(first)s AND job.id < %(last)s": bool(query.prefix),
        "job.created_at >= %(since)s": query.since is not None,
        "job.dead": query.dead,
    }
    return "".join(f" AND {condition}" for condition, meant in conditions.items() if meant)


def _totals(query: Query) -> str:
    if _rare(query):
        return "SELECT state, count(*) AS n FROM few GROUP BY state"
    if query.since is None and not query.prefix and not query.dead:
        conditions = _conditions(query).replace('"left"(job.script, 100) = "left"(%(script)s, 100) AND ', "")
        return f"SELECT state, sum(n) AS n FROM pumasi.tally AS job WHERE true{conditions} GROUP BY state"  # noqa: S608
    states = [State.FAILED] if query.dead else list(State)
    parts = [
        f"SELECT '{state.value}' AS state, count(*) AS n FROM {_SOURCES[state]}{_conditions(query)}"  # noqa: S608
        for state in states
    ]
    return " UNION ALL ".join(parts)
