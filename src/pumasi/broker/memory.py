"""The reference store: everything in the memory of one process, behind one lock.

What `memory://` means, and the first to pass the conformance suite. It may be used from several event loops of the
process at once; nothing survives its end.
"""

import threading
import time
from bisect import bisect_left, insort
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge

from msgspec import UNSET, Struct
from msgspec.structs import asdict, replace

from pumasi.broker.cursor import decode_cursor, encode_cursor
from pumasi.broker.store import Claim, Extended, Inserted, Store, Taken
from pumasi.core import lifecycle
from pumasi.core.job import Held, Job, KeyLimit, Page, Query, Queue, QueueSettings, Record, State, Worker
from pumasi.core.limits import free_at
from pumasi.core.logbook import dropped, last_progress, weight
from pumasi.core.order import Place, place, turn
from pumasi.errors import Conflict


class _QueueSettings(Struct, frozen=True):
    paused: bool = False
    max_pending: int | None = None
    ageing: float | None = None
    fair: bool = False

    def changed(self, by: QueueSettings) -> "_QueueSettings":
        """With what a change sets; what it leaves unset stays."""
        return replace(self, **{name: value for name, value in asdict(by).items() if value is not UNSET})


class _Starts(Struct):
    """Starts under a key, oldest first, as far back as the longest period asked of it looks."""

    period: float = 0.0
    at: list[float] = []

    def note(self, limit: KeyLimit, now: float, n: int = 1) -> None:
        self.period = max(self.period, limit.period)
        self.at = [at for at in self.at if at > now - self.period] + [now] * n


class MemoryStore(Store):
    """Dictionaries and a lock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        #: of these, ids of those that run; and of those that wait, by queue, in the order in which they are handed out
        self._run: set[str] = set()
        self._line: dict[str, list[tuple[int, float, str]]] = defaultdict(list)
        self._logs: dict[str, list[Record]] = defaultdict(list)
        self._blobs: dict[str, tuple[float, bytes]] = {}
        self._workers: dict[str, Worker] = {}
        self._queues: dict[str, _QueueSettings] = {}
        self._starts: dict[str, _Starts] = defaultdict(_Starts)
        #: by queue and share, the change of its last claim while the queue was fair
        self._served: dict[tuple[str, str], int] = {}
        self._change = 0

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def now(self) -> float:
        return self._clock()

    async def insert(self, jobs: Sequence[Job], max_pending: int) -> Inserted:
        with self._lock:
            answers: list[Job] = []
            fresh: dict[str, Job] = {}
            for job in jobs:
                known = self._jobs.get(job.id) or fresh.get(job.id)
                if known is None and (held := self._twin(job, fresh.values())):
                    key, known = held
                    if known.body_hash != job.body_hash:
                        return Inserted(conflict=(key, known))
                if known is None:
                    known = fresh[job.id] = lifecycle.submitted(job, self._clock())
                answers.append(known)
            if full := self._overfull(fresh.values(), max_pending):
                return Inserted(full=full)
            stored = {id: self._put(job) for id, job in fresh.items()}
            return Inserted(tuple(stored.get(job.id, job) for job in answers), frozenset(fresh))

    async def adopt(self, entries: Sequence[tuple[Job, Sequence[Record]]]) -> int:
        with self._lock:
            new: dict[str, Job] = {}
            for job, _ in entries:
                if job.id not in self._jobs and (held := self._twin(job, new.values())):
                    raise Conflict(key=held[0], id=held[1].id)
                if job.id not in self._jobs:
                    new[job.id] = replace(job, revision=0)
            for job, records in entries:
                if job.id in new:
                    self._logs[job.id] = sorted(records, key=lambda record: record.seq)
            for job in new.values():
                self._put(job)
            return len(new)

    async def load(self, ids: Sequence[str]) -> list[Job | None]:
        with self._lock:
            return [self._jobs.get(id) for id in ids]

    async def swap(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        with self._lock:
            return [self._swap(old, new, same_lease=True) for old, new in pairs]

    async def settle(self, pairs: Sequence[tuple[Job, Job]]) -> list[Job | None]:
        with self._lock:
            return [self._swap(old, new, same_lease=False) for old, new in pairs]

    async def take(self, claim: Claim) -> Taken:
        with self._lock:
            now = self._clock()
            mine = [job for job in self._running() if job.worker == claim.worker and job.claim_id == claim.claim_id]
            if held := [job for job in mine if not lifecycle.lapsed(job, now)]:
                return Taken(tuple(held), now=now)
            if not claim.slots:
                return Taken(now=now)
            queues = {name for name in claim.queues if not self._settings(name).paused}
            if self._lapsed(queues, claim.memory, now):
                return Taken(lapsed=True, now=now)
            taken: list[Job] = []
            leases = [job.lease_until or 0.0 for job in self._running() if job.queue in queues]
            times = [until for until in leases if until > now]  # one that has lapsed was too large for this claim
            memory = claim.memory
            for job in self._waiting(queues, now):
                if job.run_at > now:
                    times.append(job.run_at)
                    continue
                if not lifecycle.claimable(job, now):
                    continue
                free = self._free_at(job.limit, now)
                if job.required_memory > memory or free is None or free > now:
                    times += [free] if free is not None and free > now else []
                    continue
                memory -= job.required_memory
                taken.append(self._lease(job, claim, claim.tokens[len(taken)], now))
                if len(taken) == claim.slots:
                    break
            return Taken(tuple(taken), next_at=min(times, default=None), now=now)

    async def lapsed(self, queues: Sequence[str] | None, limit: int, memory: int | None = None) -> list[Job]:
        with self._lock:
            now = self._clock()
            found = [] if queues is not None else [job for job in self._jobs.values() if lifecycle.expired(job, now)]
            found.sort(key=lambda job: job.expires_at or 0.0)
            return (found + self._lapsed(queues, memory, now))[:limit]

    async def extend(self, worker: Worker, leases: Sequence[Held], lease: float) -> Extended:
        with self._lock:
            now = self._clock()
            self._workers[worker.id] = replace(worker, seen_at=now)
            if worker.status == "stopped":
                del self._workers[worker.id]
            cancelled, lost = [], []
            for held in leases:
                job = self._jobs.get(held.id)
                if job is None or job.token != held.token or job.state is not State.RUNNING:
                    lost.append(held)
                    continue
                started = job.started_at or (now if held.started else None)
                self._jobs[job.id] = replace(job, lease_until=now + lease, started_at=started)
                if job.cancel_requested:
                    cancelled.append(held)
            return Extended(tuple(cancelled), tuple(lost))

    async def scan(self, query: Query) -> Page:
        with self._lock:
            found = [job for job in self._jobs.values() if _matches(job, query)]
        totals = Counter(job.state.value for job in found)
        if query.states:
            found = [job for job in found if job.state in query.states]
        if query.changed_after is not None:
            found = sorted((job for job in found if job.change > query.changed_after), key=lambda job: job.change)
            return Page(tuple(found[: query.limit]), None, {})
        found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        if query.cursor:
            last = decode_cursor(query.cursor)
            found = [job for job in found if (job.created_at, job.id) < last]
        page = tuple(found[: query.limit])
        cursor = encode_cursor(page[-1]) if len(found) > len(page) else None
        return Page(page, cursor, dict(totals))

    async def append(self, id: str, token: str, records: Sequence[Record]) -> bool:
        with self._lock:
            job = self._jobs.get(id)
            if job is None or job.token != token or job.state is not State.RUNNING:
                return False
            progress = last_progress(records)
            log = self._logs[id]
            known = {record.seq for record in log}
            for record in records:
                if record.seq not in known:
                    known.add(record.seq)
                    insort(log, record, key=lambda record: record.seq)
            gone = set(dropped([(record.seq, weight(record)) for record in log]))
            log[:] = [record for record in log if record.seq not in gone]
            if progress:
                self._change += 1
                self._jobs[id] = replace(job, progress=progress, change=self._change)
            return True

    async def read(self, id: str, after: int, limit: int) -> list[Record] | None:
        with self._lock:
            if id not in self._jobs:
                return None
            return [record for record in self._logs.get(id, []) if record.seq > after][:limit]

    async def put_blob(self, key: str, data: bytes) -> None:
        with self._lock:
            self._blobs[key] = (self._clock(), data)

    async def get_blob(self, key: str) -> bytes | None:
        with self._lock:
            return self._blobs.get(key, (0.0, None))[1]

    async def list_blobs(self, prefix: str) -> dict[str, int]:
        with self._lock:
            return {key: len(data) for key, (_, data) in sorted(self._blobs.items()) if key.startswith(prefix)}

    async def purge(self, ended_before: Mapping[State, float], scripts_before: float, workers_before: float) -> int:
        with self._lock:
            strays_before = min(ended_before.values())
            ended = [job for job in self._jobs.values() if job.ended]
            gone = {job.id for job in ended if (job.ended_at or 0.0) < ended_before[job.state]}
            for id in gone:
                del self._jobs[id]
                self._logs.pop(id, None)
            used = {job.digest for job in self._jobs.values()}
            for key, (at, _) in list(self._blobs.items()):
                kind, _, rest = key.partition("/")
                owner = rest.partition("/")[0]
                unused = owner not in used and at < scripts_before
                if unused if kind == "script" else owner not in self._jobs and (owner in gone or at < strays_before):
                    del self._blobs[key]
            for id in [worker.id for worker in self._workers.values() if worker.seen_at < workers_before]:
                del self._workers[id]
            live = {(job.queue, job.share) for job in self._jobs.values() if not job.ended}
            self._served = {share: served for share, served in self._served.items() if share in live}
            return len(gone)

    async def acquire(self, limit: KeyLimit, n: int) -> float:
        with self._lock:
            now = self._clock()
            earlier = [*self._starts[limit.key].at, *[now] * (n - 1)]
            free = free_at(limit, 0, earlier, now)
            if free is not None and free > now:
                return free - now
            self._starts[limit.key].note(limit, now, n)
            return 0.0

    async def queues(self) -> list[Queue]:
        with self._lock:
            now = self._clock()
            names = {job.queue for job in self._jobs.values()} | set(self._queues)
            return [self._queue(name, now) for name in sorted(names)]

    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        with self._lock:
            self._queues[name] = self._settings(name).changed(settings)

    async def workers(self) -> list[Worker]:
        with self._lock:
            return sorted(self._workers.values(), key=lambda worker: worker.id)

    async def counts(self) -> list[tuple[str, str, str, int]]:
        with self._lock:
            found = Counter((job.state.value, job.script, job.cause or "") for job in self._jobs.values())
        return sorted((state, script, str(cause), n) for (state, script, cause), n in found.items())

    async def position(self) -> int:
        with self._lock:
            return self._change

    # -- inside, lock held ----------------------------------------------------------------------------------------

    def _settings(self, queue: str) -> _QueueSettings:
        return self._queues.get(queue, _QueueSettings())

    def _running(self) -> list[Job]:
        return [self._jobs[id] for id in self._run]

    def _waiting(self, queues: Collection[str], now: float) -> Iterator[Job]:
        """Those of some queues that wait, in the order in which they are handed out (`core.order`)."""
        offers = [self._offers(name, now) for name in queues if name in self._line]
        for _, job in merge(*offers, key=lambda offer: offer[0]):
            yield job

    def _offers(self, queue: str, now: float) -> Iterator[tuple[Place, Job]]:
        """What a queue offers, in its own order. A fair one looks, for each, at what has been taken by then."""
        settings = self._settings(queue)
        jobs = (self._jobs[id] for _, _, id in self._line[queue].copy())
        line = ((place(job, now, settings.ageing), job) for job in jobs)
        if not settings.fair:
            yield from sorted(line) if settings.ageing else line
            return
        shares: dict[str, deque[tuple[Place, Job]]] = defaultdict(deque)
        for offer in sorted(line, key=lambda offer: offer[0]):
            shares[offer[1].share].append(offer)
        while shares:
            running = Counter(job.share for job in self._running() if job.queue == queue)
            first = min(
                shares,
                key=lambda name: turn(shares[name][0][0], running[name], self._served.get((queue, name), 0)),
            )
            yield shares[first].popleft()
            if not shares[first]:
                del shares[first]

    def _lapsed(self, queues: Collection[str] | None, memory: int | None, now: float) -> list[Job]:
        found = [
            job
            for job in self._running()
            if lifecycle.lapsed(job, now)
            and (queues is None or job.queue in queues)
            and (memory is None or job.required_memory <= memory)
        ]
        return sorted(found, key=lambda job: (job.lease_until or 0.0, job.id))

    def _put(self, job: Job) -> Job:
        self._change += 1
        before = self._jobs.get(job.id)
        stored = self._jobs[job.id] = replace(job, revision=job.revision + 1, change=self._change)
        if before is not None and before.state is State.PENDING:
            line = self._line[before.queue]
            del line[bisect_left(line, _order(before))]
        if stored.state is State.PENDING:
            insort(self._line[stored.queue], _order(stored))
        (self._run.add if stored.state is State.RUNNING else self._run.discard)(stored.id)
        return stored

    def _swap(self, old: Job, new: Job, *, same_lease: bool) -> Job | None:
        at = self._jobs.get(old.id)
        if at is None or at.revision != old.revision or (same_lease and at.lease_until != old.lease_until):
            return None
        started_at = new.started_at if at.started_at is None else at.started_at
        return self._put(replace(new, started_at=started_at, progress=at.progress, revision=at.revision))

    def _lease(self, job: Job, claim: Claim, token: str, now: float) -> Job:
        if job.limit is not None and job.limit.count is not None:
            self._starts[job.limit.key].note(job.limit, now)
        after = lifecycle.claimed(
            job, worker=claim.worker, claim_id=claim.claim_id, token=token, now=now, lease=claim.lease
        )
        stored = self._put(after)
        if self._settings(job.queue).fair:
            self._served[job.queue, job.share] = stored.change
        return stored

    def _free_at(self, limit: KeyLimit | None, now: float) -> float | None:
        if limit is None:
            return now
        running = sum(1 for job in self._running() if job.limit is not None and job.limit.key == limit.key)
        return free_at(limit, running, self._starts[limit.key].at, now)

    def _twin(self, job: Job, fresh: Iterable[Job]) -> tuple[str, Job] | None:
        """The record that already holds one of the job's keys, and the key."""
        if job.idempotency_key is None and job.unique is None:
            return None
        others = (*self._jobs.values(), *fresh)
        if (key := job.idempotency_key) is not None:
            for other in others:
                if other.idempotency_key == key:
                    return key, other
        if (key := job.unique) is not None and not job.ended:
            for other in others:
                if other.unique == key and not other.ended:
                    return key, other
        return None

    def _overfull(self, fresh: Iterable[Job], max_pending: int) -> tuple[str, int] | None:
        for queue, n in Counter(job.queue for job in fresh).items():
            bound = self._settings(queue).max_pending
            bound = max_pending if bound is None else bound
            if len(self._line[queue]) + n > bound:
                return queue, bound
        return None

    def _queue(self, name: str, now: float) -> Queue:
        settings = self._settings(name)
        here = [job for job in self._jobs.values() if job.queue == name]
        pending = [job for job in here if job.state is State.PENDING]
        due = [job.run_at for job in pending if job.run_at <= now]
        return Queue(
            name=name,
            paused=settings.paused,
            max_pending=settings.max_pending,
            ageing=settings.ageing,
            fair=settings.fair,
            pending=len(pending),
            due=len(due),
            running=sum(1 for job in here if job.state is State.RUNNING),
            oldest_age=now - min(due, default=now),
        )


def _order(job: Job) -> tuple[int, float, str]:
    """Priority, due time, id: who is handed out first."""
    return -job.priority, job.run_at, job.id


def _matches(job: Job, query: Query) -> bool:
    """Whether a job is meant by a query, its states, order and cursor aside."""
    return (
        (query.queue is None or job.queue == query.queue)
        and (query.script is None or job.script == query.script)
        and (query.parent is None or job.parent == query.parent)
        and (not query.dead or job.dead)
        and (query.since is None or job.created_at >= query.since)
        and (query.prefix is None or job.id.startswith(query.prefix))
        and (query.ids is None or job.id in query.ids)
        and all(job.labels.get(name) == value for name, value in query.labels.items())
    )
