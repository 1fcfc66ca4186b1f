"""Gates: what a claim must pass beside winning the job itself.

A keyed limit has a gate (`key:…`), and so has a fair queue (`turn:…`): a document that claims change one at a time, by
compare and swap of its `version`.

    {_id, version, held: {token: [job, share, attempt, at]}, starts: [times], period, most,
     queue, served: {share: change}}

How many run is told by the jobs themselves (running, under this key or in this queue), so an ending frees a place by
being written, and no count can drift. What the gate adds is a place for claims under way:

1. read the gate, *then* who runs; both together say whether there is room, and whose turn it is;
2. *reserve*: note the job under its token in `held`, if the version is still the same;
3. claim the job: compare and swap on its own document;
4. *confirm*: strike the reservation off; a start under a rate limit is kept in `starts`.

Two who read the same version cannot both reserve. One who reads after a reservation counts it; one who reads the gate
after a confirmation reads the job as running. A job in both counts once: so a confirmation leaves the version as it is.
Who crashes between 2 and 4 leaves a reservation that counts for OVER seconds; the next one then strikes it off, and
looks at the job to see whether it was started. Nothing needs to be done when a run ends.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from pymongo.errors import DuplicateKeyError

from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.lanes import hashed, open_all
from pumasi.broker.mongodb.times import OVER
from pumasi.core.job import KeyLimit
from pumasi.core.limits import free_at

#: starts that are kept although no limit looks so far back
_SPARE = 64
#: more elements than any document holds
MAX_SLICE = 2**31 - 1


class Place(Struct, frozen=True):
    """A place that a claim wants: for a job, under a token."""

    token: str
    job: str
    share: str
    attempt: int
    #: the change that the claim of the job makes
    change: int
    limit: KeyLimit | None


class Gate:
    """A gate as it was read, and as this claim has added to it."""

    def __init__(self, id: str, found: Document | None, running: Sequence[Document], now: float, past: float) -> None:
        self.id = id
        self.now = now
        self.version: int | None = None if found is None else found["version"]
        found = found or {}
        held: dict[str, Any] = found.get("held", {})
        self.stale = {token: place for token, place in held.items() if place[3] <= past}
        self._held = {token: place for token, place in held.items() if token not in self.stale}
        self._starts = [*found.get("starts", []), *(place[3] for place in self._held.values())]
        self._starts.sort()
        self._served: dict[str, int] = found.get("served", {})
        self.period: float = found.get("period", 0.0)
        self.most: int = found.get("most", 0)
        self.leases = [run.get("lease_until") or 0.0 for run in running]
        runs = {run["_id"]: run["share"] for run in running}
        runs |= {place[0]: place[1] for place in self._held.values()}
        self.running = len(runs)
        #: starts among the stale places
        self.begun: Sequence[float] = ()
        #: places that this claim is about to take
        self.added = 0
        self._shares = Counter(runs.values())
        self._turns = max(self._served.values(), default=0)

    def count(self, begun: Sequence[float]) -> None:
        """Starts that nobody has noted yet."""
        self.begun = begun
        self._starts = sorted([*self._starts, *begun])

    def free_at(self, limit: KeyLimit) -> float | None:
        """When one more may start, as `core.limits.free_at` has it."""
        return free_at(limit, self.running, self._starts, self.now)

    def free_for(self, limit: KeyLimit, n: int) -> float | None:
        """When `n` more may start, whoever runs."""
        return free_at(limit, 0, [*self._starts, *[self.now] * (n - 1)], self.now)

    def likely(self, limit: KeyLimit) -> float | None:
        """When that may change by itself: a start is long enough ago, or a lease or a reservation lapses."""
        free = self.free_at(limit)
        if free is not None:
            return free
        times = [*(at for at in self.leases if at > self.now), *(place[3] + OVER for place in self._held.values())]
        return min(times, default=None)

    def standing(self, share: str) -> tuple[int, int]:
        """How many of a share run, and when it was served last."""
        return self._shares[share], self._served.get(hashed(share), 0)

    def add(self, share: str) -> None:
        """This claim is about to start one more."""
        self.added += 1
        self.running += 1
        self._starts.append(self.now)
        self._shares[share] += 1
        self._turns += 1
        self._served = {**self._served, hashed(share): self._turns}


def key_gate(key: str) -> str:
    """The gate of a keyed limit."""
    return f"key:{hashed(key)}"


def turn_gate(queue: str) -> str:
    """The gate of a fair queue."""
    return f"turn:{hashed(queue)}"


async def of_key(db: Database, limit: KeyLimit, now: float) -> Gate:
    """The gate of a keyed limit, and who runs under it."""
    id = key_gate(limit.key)
    return await _read(db, id, {"limit_key": {"$eq": hashed(limit.key)}, "state": {"$eq": "running"}}, now)


async def of_queue(db: Database, queue: str, now: float) -> Gate:
    """The gate of a fair queue, and who runs in it."""
    return await _read(db, turn_gate(queue), {"state": {"$eq": "running"}, "queue": {"$eq": queue}}, now)


async def _read(db: Database, id: str, running: Document, now: float) -> Gate:
    found = await db.gates.find_one({"_id": id})
    # only then who runs: the other way round, one claimed in between would be missed
    runs = await db.jobs.find(running, {"share": 1, "lease_until": 1}).to_list()
    return await known(db, Gate(id, found, runs, now, db.clock.past()))


async def known(db: Database, gate: Gate) -> Gate:
    """With those started whose claims were never confirmed."""
    if gate.stale:
        gate.count(await _begun(db, gate))
    return gate


async def reserve(db: Database, gate: Gate, places: Sequence[Place], queue: str | None) -> bool:
    """Note that these places are about to be taken; False when somebody else was faster."""
    held = {place.token: [place.job, place.share, place.attempt, gate.now] for place in places}
    served = {hashed(place.share): place.change for place in places} if queue is not None else {}
    period, most = _lookback(places)
    if gate.version is None:
        first = {"_id": gate.id, "version": 1, "held": held, "starts": [], "period": period, "most": most}
        try:
            await db.gates.insert_one({**first, "queue": queue, "served": served})
        except DuplicateKeyError:
            return False
        return True
    update: Document = {
        "$inc": {"version": 1},
        "$set": {f"held.{token}": place for token, place in held.items()}
        | {f"served.{share}": change for share, change in served.items()},
        "$max": {"period": period, "most": most},
    }
    if gate.stale:
        update["$unset"] = {f"held.{token}": "" for token in gate.stale}
        if gate.begun:
            update["$push"] = kept(gate.begun, max(gate.most, most))
    same = {"_id": gate.id, "version": {"$eq": gate.version}}
    return bool((await db.gates.update_one(same, update)).matched_count)


async def confirm(db: Database, gate: Gate, places: Sequence[Place], won: Iterable[str]) -> None:
    """Strike reservations off; those that won their jobs are starts."""
    tokens = set(won)
    update: Document = {"$unset": {f"held.{place.token}": "" for place in places}}
    starts = [gate.now for place in places if place.token in tokens and _counts(place)]
    if starts:
        update["$push"] = kept(starts, max(gate.most, _lookback(places)[1]))
    await db.gates.update_one({"_id": gate.id}, update)
    # some lane may have been closed because of these
    await open_all(db, {place.limit.key for place in places if place.limit is not None and place.token not in tokens})


async def _begun(db: Database, gate: Gate) -> list[float]:
    """When those started whose claims were never confirmed; one that nobody can tell of counts."""
    ids = sorted({place[0] for place in gate.stale.values()})
    found = {job["_id"]: job for job in await db.jobs.find({"_id": {"$in": ids}}, {"token": 1, "attempt": 1}).to_list()}
    begun = []
    for token, (id, _, attempt, at) in gate.stale.items():
        job = found.get(id)
        if job is None or job.get("token") == token or job["attempt"] > attempt:
            begun.append(at)
    return begun if gate.id.startswith("key:") else []


def _counts(place: Place) -> bool:
    return place.limit is not None and place.limit.count is not None


def _lookback(places: Sequence[Place]) -> tuple[float, int]:
    """How far back, and how many starts, are looked at."""
    limits = [place.limit for place in places if place.limit is not None and place.limit.count is not None]
    return max((float(limit.period) for limit in limits), default=0.0), max(
        (limit.count or 0 for limit in limits), default=0
    )


def kept(starts: Sequence[float], most: int) -> Document:
    """A push of starts that keeps as many as are looked at, and some more: side by side they do not come in order."""
    return {"starts": {"$each": sorted(starts), "$slice": -min(most + _SPARE, MAX_SLICE)}}


# -- tidying ------------------------------------------------------------------------------------------------------


async def forget(db: Database, now: float) -> None:
    """Drop the turns of shares that have no job any more, and gates of keys that nothing looks at."""
    async for found in db.gates.find({}):
        queue, served = found.get("queue"), found.get("served") or {}
        if queue is not None and served:
            live = {"queue": {"$eq": queue}, "state": {"$in": ["pending", "running"]}}
            shares = {hashed(share) for share in await db.jobs.distinct("share", live)}
            if gone := [share for share in served if share not in shares]:
                await _drop(db, found, {"$unset": {f"served.{share}": "" for share in gone}, "$inc": {"version": 1}})
        elif queue is None and not _looked_at(found, now, db.clock.past()):
            same = {"_id": found["_id"], "version": {"$eq": found["version"]}}
            await db.gates.delete_one(same)


async def _drop(db: Database, found: Document, update: Document) -> None:
    await db.gates.update_one({"_id": found["_id"], "version": {"$eq": found["version"]}}, update)


def _looked_at(found: Document, now: float, past: float) -> bool:
    held = [place[3] for place in found["held"].values()]
    recent = any(at > now - found["period"] for at in [*found["starts"], *held])
    return recent or any(at > past for at in held)
