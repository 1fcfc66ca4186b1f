"""Lanes: what a claim chooses among, so that its cost does not grow with the jobs that wait.

Pending jobs alike in queue, priority, memory, share and keyed limit are in one lane, in order of (due time, id): a
claim may have all of a lane, from its front, or none. So it looks at lanes only, best first, and of these only at the
ready ones (`choice`). Each change of a job touches its lane; at the end of the step the lanes touched are brought up to
date.
"""

import msgspec

from pumasi.broker.sqlite.database import Database
from pumasi.core.job import Job, KeyLimit
from pumasi.core.limits import free_at

_encode = msgspec.json.Encoder().encode
_keyed = msgspec.json.Decoder(KeyLimit)


def limit_of(keyed: str) -> KeyLimit | None:
    """The limit that a lane's text means."""
    return _keyed.decode(keyed) if keyed else None


class Ledger:
    """Runs and starts under keys, as they are in the store and as this step has added to them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._added: dict[str, int] = {}

    def free_at(self, limit: KeyLimit | None, now: float, n: int = 1, *, running: int | None = None) -> float | None:
        """When `n` more may start under the limit, as `core.limits.free_at` has it."""
        if limit is None:
            return now
        added = self._added.get(limit.key, 0)
        if running is None:
            running = added + (self._db.value("running_of_key", key=limit.key) if limit.concurrency else 0)
        starts: list[float] = []
        if limit.count is not None:
            rows = self._db.all("last_starts", key=limit.key, since=now - limit.period, count=limit.count)
            starts = [at for (at,) in reversed(rows)] + [now] * (added + n - 1)
        return free_at(limit, running, starts, now)

    def add(self, limit: KeyLimit | None) -> None:
        """One more is about to run under the limit."""
        if limit is not None:
            self._added[limit.key] = self._added.get(limit.key, 0) + 1


def note_starts(db: Database, limit: KeyLimit | None, now: float, n: int = 1) -> None:
    """Keep `n` starts under a rate limit."""
    if limit is None or limit.count is None:
        return
    db.run("note_period", key=limit.key, period=limit.period)
    db.each("note_start", [{"key": limit.key, "now": now}] * n)


class Touched:
    """The lanes and keys that a step has to do with."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lanes: set[int] = set()
        self._keys: set[str] = set()
        self._known: dict[tuple[str, int, int, str, str], int] = {}

    def lane_of(self, job: Job) -> int:
        """The lane a pending job belongs to; made when it is the first."""
        keyed = _encode(job.limit).decode() if job.limit else ""
        alike = (job.queue, job.priority, job.required_memory, job.share, keyed)
        lane = self._known.get(alike)
        if lane is None:
            values = dict(zip(("queue", "priority", "memory", "share", "keyed"), alike, strict=True))
            lane = self._db.value("find_lane", **values)
            if lane is None:
                lane = int(self._db.value("add_lane", **values, limit_key=job.limit.key if job.limit else None))
            self._known[alike] = lane
        self._lanes.add(lane)
        return lane

    def key_of(self, job: Job) -> None:
        """A job begins, or ends, to run under its key."""
        if job.limit is not None:
            self._keys.add(job.limit.key)

    def key(self, key: str) -> None:
        """Something has started under this key."""
        self._keys.add(key)

    def lane(self, lane: int) -> None:
        """A job has left this lane, or time has passed over it."""
        self._lanes.add(lane)

    def refresh(self, now: float) -> None:
        """Bring what is known of these lanes up to date: their first jobs, and when they may be had."""
        for key in self._keys:
            self._lanes |= {lane for (lane,) in self._db.all("lanes_of_key", key=key)}
        for lane in self._lanes:
            self._refresh(lane, now)
        self._lanes.clear()
        self._keys.clear()

    def _refresh(self, lane: int, now: float) -> None:
        row = self._db.one("lane", id=lane)
        if row is None:
            return
        keyed, *known, head_at, head_id = row
        ready, ready_at = False, None
        if head_at is not None:
            free = Ledger(self._db).free_at(limit_of(keyed), now)
            ready_at = None if free is None else max(head_at, free)
            ready = ready_at is not None and ready_at <= now
        if known != [head_at, head_id, ready, None if ready else ready_at]:
            self._db.run(
                "set_lane",
                id=lane,
                head_at=head_at,
                head_id=head_id,
                ready=ready,
                ready_at=None if ready else ready_at,
            )
