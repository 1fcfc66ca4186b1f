"""Forgetting, in a place outside, what no job needs any more.

Records go when the store is purged, and what belonged to them outside goes after: at most once an hour, whoever comes
first of all who share the place. A thing goes when the store knows no job of its name, and it is older than what a
forgotten job can have left lately. So two clocks that differ, or a place that answers late, cost room and nothing else.

Two brokers that were given the same place would take each other's jobs for forgotten. So the place has an owner, a name
made up by whoever came first; and the store, which has no name of its own, keeps it as a bundle that belongs to no
job, put anew before a purge could forget it.
"""

from pumasi.broker.places.base import Item
from pumasi.broker.places.keys import is_of_job, job_of
from pumasi.broker.places.outside import Outside
from pumasi.broker.store import Store
from pumasi.core.ids import new_token
from pumasi.errors import Unavailable
from pumasi.log import get_logger

#: seconds between two collections; and the least age of what they take
INTERVAL = 3600.0
#: in the place: whose it is, and when it was last looked through
OWNER, SWEPT = "pumasi/owner", "pumasi/swept"
#: in the store: that it is the owner
MARK = "script/place-"
#: jobs asked for at one time
BATCH = 100

log = get_logger(__name__)


class Keeper:
    """Looks after a place for the store that owns it."""

    def __init__(self, store: Store, outside: Outside) -> None:
        self._store = store
        self._outside = outside
        self._owner: str | None = None
        self._renew_at = self._collect_at = float("-inf")

    async def renew(self, now: float) -> None:
        """Let the store remember what it owns; to be called before it forgets."""
        if now < self._renew_at:
            return
        try:
            self._owner = self._owner or await self._owned()
        except Unavailable as error:  # no reason to keep records
            log.warning("blobs.unavailable", place=self._outside.name, reason=str(error))
            return
        if self._owner is not None:
            await self._store.put_blob(f"{MARK}{self._owner}", b"")
        self._renew_at = now + INTERVAL

    async def collect(self, now: float, before: float) -> int:
        """Remove what belongs to no job and was last written before. Returns how many things."""
        if self._owner is None or now < self._collect_at:
            return 0
        removed = 0
        if not await self._swept_since(now - INTERVAL, now):
            await self._outside.put(SWEPT, b"")
            before = min(before, now - INTERVAL)
            async for items in self._outside.items(""):
                removed += await self._collected([item for item in items if is_of_job(item.key) and item.at < before])
        self._collect_at = now + INTERVAL
        return removed

    async def _owned(self) -> str | None:
        """The name of the place's owner, if that is this store; a place without an owner is ours from now on."""
        found = await self._outside.get(OWNER)
        if found is None:
            fresh = new_token()
            await self._store.put_blob(f"{MARK}{fresh}", b"")
            await self._outside.put(OWNER, fresh.encode())
            found = await self._outside.get(OWNER)
        owner = (found or b"").decode("ascii", "replace")
        if await self._store.get_blob(f"{MARK}{owner}") is None:
            log.warning("blobs.foreign", place=self._outside.name)
            return None
        return owner

    async def _swept_since(self, since: float, now: float) -> bool:
        async for items in self._outside.items(SWEPT):
            if any(item.key == SWEPT and since < item.at <= now for item in items):
                return True
        return False

    async def _collected(self, items: list[Item]) -> int:
        """Of these, remove those of no job."""
        removed = 0
        jobs = sorted({job_of(item.key) for item in items})
        for first in range(0, len(jobs), BATCH):
            some = jobs[first : first + BATCH]
            gone = {id for id, job in zip(some, await self._store.load(some), strict=True) if job is None}
            theirs = [item for item in items if job_of(item.key) in gone]
            await self._outside.delete(theirs)
            removed += len(theirs)
        return removed
