"""The collections, and by which fields they are searched.

pumasi_board    one document: the change number, flights, settings of queues (`board`)
pumasi_bell     one document: hints (`bell`)
pumasi_jobs     one document a job: what is searched, ordered or changed often; its whole record as JSON in `record`,
                overruled by the fields beside it (`jobs`)
pumasi_lanes    what a claim chooses among (`lanes`)
pumasi_gates    reservations under a keyed limit, or in a fair queue (`gates`)
pumasi_keys     who holds a unique or an idempotency key (`keys`)
pumasi_batches  which batches were accepted, and which given up (`batches`)
pumasi_workers  those alive
pumasi_logs     records of runs, several together (`logs`)
pumasi_blobs    large things; pumasi_chunks: the parts of what does not fit into one document (`blobs`)

A field that means nothing for a job is left out, so that sparse indexes stay small. No index holds `_id` beside other
fields (`id` repeats it), no filter is partial, and times are numbers: the servers that speak MongoDB's protocol agree
on that much.
"""

from pymongo import IndexModel

_JOBS = (
    IndexModel([("state", 1), ("born", 1)], name="newest"),
    IndexModel([("queue", 1), ("state", 1), ("born", 1)], name="newest_of_queue"),
    IndexModel([("script", 1), ("state", 1), ("born", 1)], name="newest_of_script"),
    IndexModel([("labels", 1)], name="labelled"),
    IndexModel([("id", 1)], name="by_prefix"),
    IndexModel([("kind", 1)], name="counted"),
    IndexModel([("change", 1)], name="changed"),
    IndexModel([("state", 1), ("queue", 1), ("when", 1)], name="when"),
    IndexModel([("state", 1), ("queue", 1), ("share", 1)], name="shared"),
    IndexModel([("lane", 1), ("turn", 1)], name="waiting", sparse=True),
    IndexModel([("limit_key", 1), ("state", 1)], name="limited", sparse=True),
    IndexModel([("deadline", 1)], name="overdue", sparse=True),
    IndexModel([("ended_at", 1)], name="ended", sparse=True),
    IndexModel([("claim_id", 1)], name="claimed", sparse=True),
    IndexModel([("digest", 1)], name="of_bundle", sparse=True),
    IndexModel([("parent", 1)], name="repeated", sparse=True),
    IndexModel([("dead", 1), ("born", 1)], name="dead", sparse=True),
    IndexModel([("batch", 1)], name="staged", sparse=True),
    IndexModel([("untold", 1)], name="untold", sparse=True),
)

#: of the collection that other programs use, under the names that it would have anyway
CLASSIC = (
    IndexModel([("status", 1), ("scheduled_date", 1)]),
    IndexModel([("status", 1), ("created_at", 1)]),
)

INDEXES: dict[str, tuple[IndexModel, ...]] = {
    "pumasi_jobs": _JOBS,
    "pumasi_lanes": (
        IndexModel([("queue", 1), ("at", 1)], name="ready"),
        IndexModel([("limit_key", 1)], name="limited", sparse=True),
        IndexModel([("touched_at", 1)], name="touched"),
    ),
    "pumasi_keys": (IndexModel([("job", 1)], name="of_job"),),
    "pumasi_batches": (IndexModel([("at", 1)], name="at"),),
    "pumasi_logs": (
        IndexModel([("job", 1), ("n", 1)], name="of_job"),
        IndexModel([("batch", 1)], name="staged", sparse=True),
    ),
    "pumasi_blobs": (
        IndexModel([("owner", 1)], name="of_owner"),
        IndexModel([("kind", 1), ("at", 1)], name="stored"),
        IndexModel([("version", 1)], name="in_chunks", sparse=True),
    ),
    "pumasi_chunks": (
        IndexModel([("version", 1), ("n", 1)], name="of_blob"),
        IndexModel([("n", 1), ("at", 1)], name="stored"),
    ),
}
