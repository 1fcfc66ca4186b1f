"""Starts under a rate limit outside a claim."""

from pymongo.errors import DuplicateKeyError

from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.gates import Gate, kept, key_gate, known
from pumasi.core.job import KeyLimit
from pumasi.errors import Unavailable

#: how often a start outside a claim tries to be the only one
_TRIES = 100


async def acquire(db: Database, limit: KeyLimit, n: int) -> float:
    """As `Store.acquire`."""
    for _ in range(_TRIES):
        now = db.clock.now()
        id = key_gate(limit.key)
        gate = await known(db, Gate(id, await db.gates.find_one({"_id": id}), [], now, db.clock.past()))
        free = gate.free_for(limit, n)
        if free is not None and free > now:
            return free - now
        if await _start(db, gate, limit, n):
            return 0.0
    raise Unavailable("too many ask for starts under the limit {key!r} at once; try again", key=limit.key)


async def _start(db: Database, gate: Gate, limit: KeyLimit, n: int) -> bool:
    most = limit.count or 0
    if gate.version is None:
        first = {"_id": gate.id, "version": 1, "held": {}, "starts": [gate.now] * n, "queue": None, "served": {}}
        try:
            await db.gates.insert_one({**first, "period": limit.period, "most": most})
        except DuplicateKeyError:
            return False
        return True
    update = {
        "$inc": {"version": 1},
        "$push": kept([gate.now] * n, max(gate.most, most)),
        "$max": {"period": float(limit.period), "most": most},
    }
    same = {"_id": gate.id, "version": {"$eq": gate.version}}
    return bool((await db.gates.update_one(same, update)).matched_count)
