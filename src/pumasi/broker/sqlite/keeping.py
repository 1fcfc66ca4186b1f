"""What is kept beside the jobs, and for how long."""

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace

from pumasi.broker.sqlite.database import Database, Row
from pumasi.core.job import Queue, QueueSettings, State, Worker

#: jobs that one step forgets
FORGOTTEN = 100
#: bundles and stray blobs that one step forgets
FORGOTTEN_BLOBS = 200

_worker = msgspec.json.Decoder(Worker)


def forget_jobs(db: Database, state: State, before: float) -> int:
    """Forget some jobs that ended so before, with all that hangs on them; how many."""
    gone = db.all("ended_before", state=state.value, before=before, limit=FORGOTTEN)
    db.each("forget_blobs", [{"id": id} for _, id in gone])
    db.each("forget", [{"seq": seq} for seq, _ in gone])
    return len(gone)


def forget_rest(db: Database, ended_before: float, scripts_before: float, workers_before: float) -> bool:
    """Forget silent workers, idle shares and some blobs that nobody needs; whether there may be more of these."""
    db.run("forget_workers", before=workers_before)
    db.run("forget_served")
    scripts = db.all("forget_scripts", before=scripts_before, limit=FORGOTTEN_BLOBS)
    strays = db.all("forget_strays", before=ended_before, limit=FORGOTTEN_BLOBS)
    return FORGOTTEN_BLOBS in (len(scripts), len(strays))


def tidy(db: Database, now: float) -> None:
    """Drop bookkeeping that has become empty."""
    db.run("forget_starts", now=now)
    for name in ("forget_rates", "forget_lanes", "forget_tallies"):
        db.run(name)


def queues(db: Database, now: float) -> list[Queue]:
    """As `Store.queues`."""
    settings = {row[0]: _settings(row) for row in db.all("settings")}
    counts = {(queue, state): n for queue, state, n in db.all("tally")}
    waiting = {queue: (later, first) for queue, later, first in db.all("waiting", now=now)}
    found = []
    for name in sorted({*settings, *(queue for queue, _ in counts)}):
        later, first = waiting.get(name, (0, now))
        pending = counts.get((name, State.PENDING), 0)
        found.append(
            replace(
                settings.get(name, Queue(name=name)),
                pending=pending,
                due=pending - later,
                running=counts.get((name, State.RUNNING), 0),
                oldest_age=max(0.0, now - first),
            )
        )
    return found


def set_queue(db: Database, name: str, settings: QueueSettings) -> None:
    """As `Store.set_queue`."""
    row = db.one("settings_of", name=name)
    known = asdict(_settings(row) if row else Queue(name=name))
    wanted = {setting: value for setting, value in asdict(settings).items() if value is not UNSET}
    db.run("put_settings", name=name, **{setting: wanted.get(setting, known[setting]) for setting in asdict(settings)})


def _settings(row: Row) -> Queue:
    name, paused, bound, ageing, fair = row
    return Queue(name=name, paused=bool(paused), max_pending=bound, ageing=ageing, fair=bool(fair))


def workers(db: Database) -> list[Worker]:
    """As `Store.workers`."""
    return [_worker.decode(text) for text, _ in db.all("workers")]
