"""Jobs from one broker to another, as they stand: settings of queues, then each job with its blobs and its log.

What is large comes before its record, so that a copy that is cut short leaves no record without its result, and is
simply begun again: records that are known are left alone. The source is only read. A job that runs stays where it is;
one that waits is taken along, so nobody should work on the source meanwhile: it would be run on both sides.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from pumasi.broker import Broker
from pumasi.core.job import Job, Query, Queue, QueueSettings, Record, State
from pumasi.errors import Conflict

#: jobs that are looked at, and taken in, together
PAGE = 50

Entry = tuple[Job, list[Record]]


class Copied(Struct, frozen=True):
    """What became of the jobs of the source."""

    #: how many there were at the beginning
    total: int = 0
    new: int = 0
    #: the target had them before
    known: int = 0
    #: left where they are
    running: int = 0
    #: ids of those whose key another job of the target holds
    conflicts: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        """Jobs that were looked at."""
        return self.new + self.known + self.running + len(self.conflicts)


async def copy(source: Broker, target: Broker, told: Callable[[Copied], None] = lambda _: None) -> Copied:
    """Copy all that the source keeps; `told` hears of it page by page. Safe to repeat. Raises: Unavailable, Invalid."""
    for queue in await source.queues():
        await _copy_settings(target, queue)
    copied = Copied(total=sum((await source.find(Query(limit=1))).totals.values()))
    bundles: set[str] = set()
    position = 0
    while True:
        page = await source.find(Query(changed_after=position, limit=PAGE))
        if not page.jobs:
            return copied
        position = page.jobs[-1].change
        copied = await _copy_page(source, target, page.jobs, bundles, copied)
        told(copied)


async def _copy_settings(target: Broker, queue: Queue) -> None:
    usual = Queue(name=queue.name)
    names = ("paused", "max_pending", "ageing", "fair")
    changed = {name: getattr(queue, name) for name in names if getattr(queue, name) != getattr(usual, name)}
    if changed:
        await target.set_queue(queue.name, QueueSettings(**changed))


async def _copy_page(source: Broker, target: Broker, jobs: Sequence[Job], bundles: set[str], copied: Copied) -> Copied:
    still = [job for job in jobs if job.state is not State.RUNNING]
    there = await target.find(Query(ids=tuple(job.id for job in still), limit=PAGE))
    known = {job.id for job in there.jobs}
    entries = []
    for job in still:
        if job.id not in known:
            await _copy_blobs(source, target, job, bundles)
            entries.append((job, await _log(source, job.id)))
    new, conflicts = await _adopted(target, entries)
    return replace(
        copied,
        new=copied.new + new,
        known=copied.known + len(still) - new - len(conflicts),
        running=copied.running + len(jobs) - len(still),
        conflicts=(*copied.conflicts, *conflicts),
    )


async def _copy_blobs(source: Broker, target: Broker, job: Job, bundles: set[str]) -> None:
    keys = set(await source.list_blobs(f"log/{job.id}/"))
    if job.artifacts:
        keys |= set(await source.list_blobs(f"artifact/{job.id}/"))
    if job.result_blob is not None:
        keys.add(job.result_blob)
    bundle = f"script/{job.digest}"
    if job.digest is not None and bundle not in bundles:
        bundles.add(bundle)
        keys.add(bundle)
    for key in sorted(keys):
        if (data := await source.get_blob(key)) is not None:
            await target.put_blob(key, data)


async def _log(source: Broker, id: str) -> list[Record]:
    records: list[Record] = []
    while page := await source.read(id, records[-1].seq if records else 0):
        records += page
    return records


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
