"""The face for programs that know a list and some hashes, and nothing of us.

    scraping:tasks:pending     list: a request is pushed on the left, and taken from the right
    scraping:tasks:processing  hash by request_id: the request, while it runs and between attempts
    scraping:tasks:completed, scraping:tasks:failed   hashes by request_id: the reply
    scraping:tasks:dead        list: {raw, reason, at} of what cannot be read
    scraping:workers           hash by worker

An entry stays in the list until a claim has room for it. A claim that has slots left is told the entries at the right
end, as they are; it is asked again with what they mean, and then one script takes them out, records them, and leases
what comes first: there is no moment in which an entry is nowhere. Who looks and dies has changed nothing. Only jobs
from here, told by their external id, appear in the hashes, written by the same scripts that change the jobs.
"""

from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Any

import msgspec
from msgspec import Struct

from pumasi.broker import classic
from pumasi.broker.redis.address import Address
from pumasi.core.job import Job, Worker
from pumasi.errors import Invalid

_job = Job(id="", script="")
#: entries that one claim looks at, beside as many as it has slots
SPARE = 8

_encode = msgspec.json.Encoder().encode


class Entry(Struct, frozen=True):
    """An entry of the list: as it is, and the job it asks for, or why it cannot be read."""

    raw: bytes
    job: Job | None = None
    request: bytes = b""
    reason: str = ""


class Face:
    """How a server's face is set, and what it says in the words of other programs."""

    def __init__(self, address: Address, zone: tzinfo | None = None) -> None:
        """The face of the keys that an address names, with times in `zone` (None: the host's)."""
        #: what its keys begin with; empty: there is none
        self.name = address.face
        self.zone = zone
        #: told when a claim finds nothing, so that somebody can wait for an entry in its place
        self.on_idle: Callable[[], None] = lambda: None
        #: told of queues for which entries were recorded
        self.on_recorded: Callable[[set[str]], None] = lambda _: None

    #: of which queue they are jobs that name none, and the memory that such a job needs
    queue = _job.queue
    memory = _job.required_memory

    @property
    def on(self) -> bool:
        """Whether there is one."""
        return bool(self.name)

    def look(self, slots: int) -> int:
        """How many entries a claim of so many slots looks at."""
        return slots + SPARE if self.on else 0

    def entries(self, found: Sequence[bytes]) -> list[Entry]:
        """What entries mean, the next one first."""
        return [self._entry(raw) for raw in reversed(found)]

    def dead(self, entry: Entry, now: float) -> bytes:
        """What is kept of an entry that cannot be read."""
        at = classic.written(now, self.zone)
        return _encode({"raw": entry.raw.decode("utf-8", "replace"), "reason": entry.reason, "at": at})

    def told(self, job: Job, result: str | None) -> tuple[str, bytes]:
        """Which hash tells of a job that has ended, and how."""
        reply = classic.reply(job, result, self.zone)
        return reply["status"], _encode(reply)

    def worker(self, worker: Worker, now: float) -> bytes:
        """A worker, as other programs read it."""
        done = worker.stats.get("tasks_completed", 0) + worker.stats.get("tasks_failed", 0)
        view: dict[str, Any] = {
            "worker_id": worker.id,
            "registered_at": classic.written(worker.started_at, self.zone),
            "last_heartbeat": classic.written(now, self.zone),
            "status": "inactive" if worker.status == "stopped" else "active",
            "tasks_processed": int(done),
        }
        return _encode(view)

    def written(self, at: float) -> str:
        """A time, as other programs read it."""
        return classic.written(at, self.zone)

    def _entry(self, raw: bytes) -> Entry:
        try:
            request = classic.read(raw)
            job = classic.requested(request, self.zone)
        except Invalid as error:
            return Entry(raw, reason=str(error))
        return Entry(raw, job, _encode({**request, "request_id": job.external_id}))
