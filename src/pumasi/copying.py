"""Jobs from one broker to another, as they stand: settings of queues, then each job with its blobs and its log.

What is large comes before its record, so that a copy that is cut short leaves no record without its result, and is
simply begun again: records that are known are left alone. The source is only read. A job that runs stays where it is;
one that waits is taken along, so nobody should work on the source meanwhile: it would be run on both sides. Where that
has happened, it is said.

Jobs are read in the order of their changes, up to where that stood at the beginning; a second round takes what has
changed during the first. So a source that is never still does not keep a copy from its end.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pumasi.broker import Broker
from pumasi.broker.places.keeping import MARK
from pumasi.core.job import Job, Query, Queue, QueueSettings, Record, State
from pumasi.core.logbook import weight
from pumasi.errors import Conflict, JobNotFound

#: jobs that are looked at together; bytes of logs that are taken in together
PAGE = 50
TOGETHER = 8 * 1024 * 1024

Entry = tuple[Job, list[Record]]


class Copied(Struct, frozen=True):
    """What became of the jobs of the source."""

    #: how many there were at the beginning
    total: int = 0
    new: int = 0
    #: the target had them before
    known: int = 0
    #: ids of those left where they are
    running: frozenset[str] = frozenset()
    #: ids of those whose key another job of the target holds
    conflicts: tuple[str, ...] = ()
    #: ids of those that wait at the target, and were begun at the source since
    begun: frozenset[str] = frozenset()

    @property
    def seen(self) -> int:
        """Jobs that were looked at."""
        return self.new + self.known + len(self.running) + len(self.conflicts)


async def copy(source: Broker, target: Broker, told: Callable[[Copied], None] = lambda _: None) -> Copied:
    """Copy all that the source keeps; `told` hears of it page by page. Safe to repeat. Raises: Unavailable, Invalid."""
    for queue in await source.queues():
        await _copy_settings(target, queue)
    copying = _Copying(source, target, told)
    copying.copied = Copied(total=sum((await source.find(Query(limit=1))).totals.values()))
    middle = await source.position()
    await copying.round(0, middle)
    copying.again = True
    await copying.round(middle, await source.position())
    await copying.see_running()
    return copying.copied


async def share_place(source: Broker, target: Broker) -> None:
    """Let the target, too, look after the place outside where both have their blobs; both brokers without that place.

    Else nobody would, once the source is no more.
    """
    for mark in await source.list_blobs(MARK):
        await target.put_blob(mark, b"")


async def _copy_settings(target: Broker, queue: Queue) -> None:
    usual = Queue(name=queue.name)
    names = ("paused", "max_pending", "ageing", "fair")
    changed = {name: getattr(queue, name) for name in names if getattr(queue, name) != getattr(usual, name)}
    if changed:
        await target.set_queue(queue.name, QueueSettings(**changed))


class _Copying:
    """One copy on its way."""

    def __init__(self, source: Broker, target: Broker, told: Callable[[Copied], None]) -> None:
        self._source = source
        self._target = target
        self._told = told
        self._bundles: set[str] = set()
        self.copied = Copied()
        #: in the second round what is known was counted before
        self.again = False

    async def round(self, after: int, last: int) -> None:
        """All jobs whose latest change comes after one position, and not after another."""
        while after < last:
            page = await self._source.find(Query(changed_after=after, limit=PAGE))
            jobs = [job for job in page.jobs if job.change <= last]
            if not jobs:
                return
            after = jobs[-1].change
            await self._page(jobs)
            self._told(self.copied)

    async def see_running(self) -> None:
        """Those that run now: one that tells its progress all the time is always ahead of a round."""
        cursor: str | None = None
        while True:
            page = await self._source.find(Query(states=(State.RUNNING,), cursor=cursor, limit=PAGE))
            await self._page(page.jobs)
            self._told(self.copied)
            if (cursor := page.cursor) is None:
                return

    async def _page(self, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        there = await self._target.find(Query(ids=tuple(job.id for job in jobs), limit=PAGE))
        known = {job.id: job.state for job in there.jobs}
        self._count(jobs, known)
        entries: list[Entry] = []
        for job in jobs:
            if job.id in known or job.state is State.RUNNING:
                continue
            if (log := await self._prepared(job)) is not None:
                entries.append((job, log))
            if sum(weight(record) for _, log in entries for record in log) > TOGETHER:
                await self._take(entries)
                entries = []
        await self._take(entries)

    def _count(self, jobs: Sequence[Job], known: dict[str, State]) -> None:
        running = {job.id for job in jobs if job.state is State.RUNNING} - known.keys()
        begun = {job.id for job in jobs if job.state is not State.PENDING and known.get(job.id) is State.PENDING}
        self.copied = replace(
            self.copied,
            known=self.copied.known + (0 if self.again else len(known)),
            running=self.copied.running - {job.id for job in jobs} | running,
            begun=self.copied.begun | begun,
        )

    async def _prepared(self, job: Job) -> list[Record] | None:
        """Bring over what belongs beside the record; its log, or None when the source has forgotten the job."""
        bundle = f"script/{job.digest}"
        keys = {bundle} if job.digest is not None and bundle not in self._bundles else set()
        self._bundles |= keys
        if job.attempt:  # else there was no run that could have left anything
            keys |= set(await self._source.list_blobs(f"log/{job.id}/"))
            keys |= set(await self._source.list_blobs(job.artifact_key(""))) if job.artifacts else set()
            keys |= {job.result_blob} if job.result_blob is not None else set()
        for key in sorted(keys):
            if (data := await self._source.get_blob(key)) is not None:
                await self._target.put_blob(key, data)
        try:
            return await self._log(job.id) if job.attempt else []
        except JobNotFound:
            return None

    async def _log(self, id: str) -> list[Record]:
        records: list[Record] = []
        while page := await self._source.read(id, records[-1].seq if records else 0):
            records += page
        return records

    async def _take(self, entries: list[Entry]) -> None:
        new, conflicts = await _adopted(self._target, entries)
        kept = self.copied
        others = tuple(id for id in conflicts if id not in kept.conflicts)
        self.copied = replace(kept, new=kept.new + new, conflicts=(*kept.conflicts, *others))


async def _adopted(target: Broker, entries: list[Entry]) -> tuple[int, list[str]]:
    """How many were new, and which the target cannot take; the others are taken all the same."""
    try:
        return await target.adopt(entries), []
    except Conflict:
        if len(entries) == 1:
            return 0, [entries[0][0].id]
    half = len(entries) // 2
    new, conflicts = await _adopted(target, entries[:half])
    more, others = await _adopted(target, entries[half:])
    return new + more, conflicts + others
