"""Unique and idempotency keys: who holds them.

A key's document is there before the job that holds it, so that two submits cannot both have it:

    {_id: hash of kind and key, job: id of the holder, by: the submit that took it, at}

It is taken by an insert, or by compare and swap of `by` from a holder whose claim to it is over: one that has ended
(for a unique key), that has been forgotten, or that never came, OVER seconds after the key was taken for it. Nothing
needs to be done when a job ends. A submit that fails gives its keys back; one that crashes leaves some that are taken
over.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from pymongo.errors import DuplicateKeyError

from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.lanes import hashed
from pumasi.core.job import Job


class Key(Struct, frozen=True):
    """A key of a job."""

    id: str
    text: str
    unique: bool

    def held_by(self, job: Job) -> bool:
        """Whether a job that is stored still holds it."""
        return (not job.ended and job.unique == self.text) if self.unique else job.idempotency_key == self.text


class Holding(Struct, frozen=True):
    """A key's document, and the job that it names."""

    by: str
    at: float
    job: str
    holder: Job | None


def keys_of(job: Job) -> list[Key]:
    """The keys that a job wants to hold; a unique one only until it has ended."""
    keys = []
    if job.idempotency_key is not None:
        keys.append(Key("i:" + hashed(job.idempotency_key), job.idempotency_key, unique=False))
    if job.unique is not None and not job.ended:
        keys.append(Key("u:" + hashed(job.unique), job.unique, unique=True))
    return keys


async def find(db: Database, keys: Iterable[Key]) -> dict[str, Document]:
    """The documents of keys, by id."""
    ids = sorted({key.id for key in keys})
    found = await db.keys.find({"_id": {"$in": ids}}).to_list() if ids else []
    return {key["_id"]: key for key in found}


def pending(holding: Holding, job: str, past: float) -> bool:
    """Whether somebody else may be about to store the job that holds the key."""
    return holding.holder is None and holding.job != job and holding.at > past


async def take(
    db: Database, wanted: Sequence[tuple[Key, Job]], known: Mapping[str, Holding], by: str, now: float
) -> bool:
    """Take keys for jobs, all or none; False when somebody else was faster."""
    for key, job in sorted(wanted, key=lambda want: want[0].id):
        if not await _take(db, key, job, known.get(key.id), by, now):
            await give_back(db, by)
            return False
    return True


async def give_back(db: Database, by: str) -> None:
    """Give back what a submit has taken and does not need."""
    await db.keys.delete_many({"by": {"$eq": by}})


async def give_back_unheld(db: Database, by: str) -> None:
    """As `give_back`, for a submit that somebody else clears up after: it may have stored its jobs after all."""
    taken = await db.keys.find({"by": {"$eq": by}}).to_list()
    jobs = [key["job"] for key in taken]
    stored = {job["_id"] for job in await db.jobs.find({"_id": {"$in": jobs}}, {"_id": 1}).to_list()} if jobs else set()
    gone = [key["_id"] for key in taken if key["job"] not in stored]
    if gone:
        await db.keys.delete_many({"_id": {"$in": gone}, "by": {"$eq": by}})


async def _take(db: Database, key: Key, job: Job, holding: Holding | None, by: str, now: float) -> bool:
    if holding is None:
        try:
            await db.keys.insert_one({"_id": key.id, "job": job.id, "by": by, "at": now})
        except DuplicateKeyError:
            return False
        return True
    same = {"_id": key.id, "by": {"$eq": holding.by}}
    done = await db.keys.update_one(same, {"$set": {"job": job.id, "by": by, "at": now}})
    return bool(done.matched_count)
