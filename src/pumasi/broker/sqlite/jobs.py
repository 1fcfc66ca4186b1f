"""Records of jobs: in, out, compared and swapped."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from pumasi.broker.sqlite import lanes
from pumasi.broker.sqlite.database import QUERIES, Database, Row
from pumasi.broker.store import Inserted
from pumasi.core import lifecycle
from pumasi.core.job import Job, Progress, Record, State
from pumasi.core.logbook import weight
from pumasi.errors import Conflict

#: how records are read; what to read them by is put behind
RECORD = QUERIES["record"]
_OF_ROW = RECORD + "\nWHERE job.seq = :seq"
_OF_IDS = RECORD + "\nWHERE job.id IN (SELECT value FROM json_each(:ids))"  # noqa: S608

encode = msgspec.json.Encoder().encode
_job = msgspec.json.Decoder(Job)
_progress = msgspec.json.Decoder(Progress)


def record(row: Row) -> Job:
    """The record that a row of `load` or `record` means: its text, overruled by the columns."""
    text, state, attempt, worker, claim_id, token, until, claimed, started, cancel, progress, created, run, *place = row
    return replace(
        _job.decode(text),
        state=State(state),
        attempt=attempt,
        worker=worker,
        claim_id=claim_id,
        token=token,
        lease_until=until,
        claimed_at=claimed,
        started_at=started,
        cancel_requested=bool(cancel),
        progress=None if progress is None else _progress.decode(progress),
        created_at=created,
        run_at=run,
        revision=place[0],
        change=place[1],
    )


def fetch(db: Database, seq: int) -> Job:
    """The record of a row there is."""
    (row,) = db.connection.execute(_OF_ROW, {"seq": seq})
    return record(row)


def load(db: Database, ids: Sequence[str]) -> list[Job | None]:
    """The records, None where there is none."""
    found = {job.id: job for job in map(record, _load(db, ids))}
    return [found.get(id) for id in ids]


def _load(db: Database, ids: Sequence[str]) -> list[Row]:
    return db.connection.execute(_OF_IDS, {"ids": json(ids)}).fetchall()


def json(values: Iterable[Any]) -> str:
    """A list as a query takes it."""
    return encode(list(values)).decode()


# -- in -----------------------------------------------------------------------------------------------------------


def insert(db: Database, jobs: Sequence[Job], max_pending: int, now: float) -> Inserted:
    """All of the jobs that are not there yet, or none."""
    newcomers = _Newcomers(db, jobs, now)
    for job in jobs:
        if conflict := newcomers.add(job):
            return Inserted(conflict=conflict)
    if full := _overfull(db, newcomers.fresh.values(), max_pending):
        return Inserted(full=full)
    stored = _store(db, list(newcomers.fresh.values()), now)
    return Inserted(tuple(stored.get(job.id, job) for job in newcomers.answers), frozenset(stored))


class _Newcomers:
    """The jobs of a batch, told apart: those that are there already, and the fresh ones."""

    def __init__(self, db: Database, jobs: Sequence[Job], now: float) -> None:
        self._db = db
        self._now = now
        self._known = {job.id: job for job in load(db, [job.id for job in jobs]) if job is not None}
        self._keys: dict[tuple[str, str], Job] = {}
        self.fresh: dict[str, Job] = {}
        self.answers: list[Job] = []

    def add(self, job: Job) -> tuple[str, Job] | None:
        """Take a job in; or the key that belongs to another request, and who holds it."""
        known = self._known.get(job.id) or self.fresh.get(job.id)
        if known is None and (held := self._holder(job)):
            key, known = held
            if known.body_hash != job.body_hash:
                return key, known
        if known is None:
            known = self.fresh[job.id] = lifecycle.submitted(job, self._now)
            self._keys |= dict.fromkeys(_keys(job), known)
        self.answers.append(known)
        return None

    def _holder(self, job: Job) -> tuple[str, Job] | None:
        for kind, key in _keys(job):
            if holder := self._keys.get((kind, key)):
                return key, holder
            if (seq := self._db.value(kind, key=key)) is not None:
                return key, fetch(self._db, seq)
        return None


def _keys(job: Job) -> list[tuple[str, str]]:
    """The keys a job holds, by the query that finds who does."""
    keys = (("by_idempotency", job.idempotency_key), ("by_unique", job.unique))
    return [(kind, key) for kind, key in keys if key is not None]


def _overfull(db: Database, fresh: Iterable[Job], max_pending: int) -> tuple[str, int] | None:
    coming: dict[str, int] = {}
    for job in fresh:
        coming[job.queue] = coming.get(job.queue, 0) + 1
    for queue, n in coming.items():
        bound, pending = db.one("queue_bound", queue=queue) or (None, None)
        bound = max_pending if bound is None else bound
        if (pending or 0) + n > bound:
            return queue, bound
    return None


def _store(db: Database, fresh: list[Job], now: float) -> dict[str, Job]:
    if not fresh:
        return {}
    last = db.value("next_change", n=len(fresh))
    stored = [replace(job, revision=1, change=change) for change, job in enumerate(fresh, start=last - len(fresh) + 1)]
    touched = lanes.Touched(db)
    seqs = db.each("insert_job", [_columns(job, touched.lane_of(job)) for job in stored])
    rows = [(seq, job) for (seq,), job in zip(seqs, stored, strict=True)]
    db.each("insert_body", [{"job": seq, "record": encode(job)} for seq, job in rows])
    labels = [(seq, name, value) for seq, job in rows for name, value in job.labels.items()]
    if labels:
        db.each("insert_label", [{"job": seq, "name": name, "value": value} for seq, name, value in labels])
    touched.refresh(now)
    return {job.id: job for job in stored}


def _columns(job: Job, lane: int | None) -> dict[str, Any]:
    return {
        "id": job.id,
        "queue": job.queue,
        "script": job.script,
        "memory": job.required_memory,
        "created_at": job.created_at,
        "run_at": job.run_at,
        "expires_at": job.expires_at,
        "digest": job.digest,
        "parent": job.parent,
        "unique_key": job.unique,
        "idempotency_key": job.idempotency_key,
        "limit_key": None if job.limit is None else job.limit.key,
        "lane": lane,
        "share": job.share,
        "change": job.change,
    }


# -- from another broker ------------------------------------------------------------------------------------------


def adopt(db: Database, entries: Sequence[tuple[Job, Sequence[Record]]], now: float) -> int:
    """As `Store.adopt`."""
    known = {job.id for job in load(db, [job.id for job, _ in entries]) if job is not None}
    new = {job.id: (job, records) for job, records in entries if job.id not in known}
    touched = lanes.Touched(db)
    for job, records in new.values():
        _adopt(db, job, records, touched)
    touched.refresh(now)
    return len(new)


def _adopt(db: Database, job: Job, records: Sequence[Record], touched: lanes.Touched) -> None:
    for kind, key in _keys(job):
        if (seq := db.value(kind, key=key)) is not None and not (kind == "by_unique" and job.ended):
            raise Conflict(key=key, id=fetch(db, seq).id)
    pending = job.state is State.PENDING
    job = replace(job, revision=1, change=db.value("next_change", n=1))
    seq = db.value(
        "adopt_job",
        **_columns(job, touched.lane_of(job) if pending else None),
        **_standing(job),
        attempt=job.attempt,
        progress=None if job.progress is None else encode(job.progress),
        log_bytes=sum(weight(record) for record in records),
    )
    db.run("insert_body", job=seq, record=encode(job))
    db.each("insert_label", [{"job": seq, "name": name, "value": value} for name, value in job.labels.items()])
    db.each("add_record", [record_columns(seq, record) for record in records])


def record_columns(job: int, record: Record) -> dict[str, Any]:
    """A record of the log of a row."""
    return {"job": job, "seq": record.seq, "at": record.time, "stream": record.stream, "data": record.data}


# -- compare and swap ---------------------------------------------------------------------------------------------


def swap(db: Database, pairs: Sequence[tuple[Job, Job]], now: float, *, same_lease: bool) -> list[Job | None]:
    """Each new record, where the old one still stands."""
    touched = lanes.Touched(db)
    stored = [_swap(db, old, new, touched, same_lease=same_lease) for old, new in pairs]
    touched.refresh(now)
    return stored


def _swap(db: Database, old: Job, new: Job, touched: lanes.Touched, *, same_lease: bool) -> Job | None:
    row = db.one(
        "swap",
        id=old.id,
        revision=old.revision,
        same_lease=same_lease,
        old_lease=old.lease_until,
        lane=touched.lane_of(new) if new.state is State.PENDING else None,
        run_at=new.run_at,
        attempt=new.attempt,
        **_standing(new),
    )
    if row is None:
        return None
    seq, started_at, progress, revision, change = row
    db.value("next_change", n=1)
    if old.state is State.PENDING:
        touched.lane_of(old)
    touched.key_of(new)
    stored = replace(
        new,
        started_at=started_at,
        progress=None if progress is None else _progress.decode(progress),
        revision=revision,
        change=change,
    )
    db.run("rewrite", seq=seq, record=encode(stored))
    return stored


def _standing(job: Job) -> dict[str, Any]:
    """Where a job stands on its way."""
    return {
        "state": job.state.value,
        "cause": job.cause.value if job.cause else "",
        "worker": job.worker,
        "claim_id": job.claim_id,
        "token": job.token,
        "lease_until": job.lease_until,
        "claimed_at": job.claimed_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "cancel_requested": job.cancel_requested,
        "resolved": job.resolved,
    }
