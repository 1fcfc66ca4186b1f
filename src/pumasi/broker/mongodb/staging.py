"""Batches of jobs that are staged, and then accepted or given up: steps 3 to 5 of `batches`, whoever does them.

Whoever meets a staged job OVER seconds after its batch was begun (a sweep, or a submit of the same id) inserts
`{_id: batch, accepted: false}`. Only one of the two inserts can succeed: either the batch is given up, and its jobs and
keys are removed, or it was accepted, and step 5 is done for the submitter. `load` looks at the batch of a staged job at
once, so an accepted job is never unknown.
"""

from collections.abc import Mapping, Sequence

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from pumasi.broker.mongodb import jobs, keys, lanes, logs
from pumasi.broker.mongodb.board import Document
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.jobs import STAGED
from pumasi.broker.mongodb.times import OVER, Stopwatch
from pumasi.broker.mongodb.together import together
from pumasi.core.job import Job, Record, State
from pumasi.errors import Unavailable

#: seconds that a batch which was given up is remembered
_KEEP = 24 * 3600.0


async def stage(
    db: Database, fresh: Sequence[Job], log: Mapping[str, Sequence[Record]], batch: str, now: float
) -> bool:
    """Store them where no verb sees them; False when one of them is there already."""
    staged: list[Document] = []
    for job in fresh:
        document = jobs.document(job)
        becomes = {"batch": batch, "becomes": document["state"]}
        staged.append({**document, **becomes, "state": STAGED, "deadline": now + OVER})
    try:
        await db.jobs.insert_many(staged, ordered=False)
        for id, records in log.items():
            await logs.adopt(db, id, records, batch)
    except BulkWriteError as error:
        await discard(db, batch)
        if any(bad["code"] != 11000 for bad in error.details["writeErrors"]):
            raise
        return False
    return True


async def accept(db: Database, fresh: Sequence[Job], batch: str, watch: Stopwatch) -> bool:
    """Decide that they are stored, unless somebody has given them up. Raises: Unavailable."""
    try:
        watch.in_time()
        await db.batches.insert_one({"_id": batch, "accepted": True, "at": db.clock.now()})
    except (DuplicateKeyError, Unavailable) as error:
        # given up by somebody, or by us
        await discard(db, batch)
        await keys.give_back(db, batch)
        raise Unavailable("the submit took too long and was given up; nothing was stored, try again") from error
    await _unstage(db, batch, fresh)
    return True


async def _unstage(db: Database, batch: str, staged: Sequence[Job]) -> None:
    """Turn an accepted batch into what its jobs are to be. Safe to repeat, and side by side."""
    mine = {"batch": {"$eq": batch}, "state": {"$eq": STAGED}}
    gone = dict.fromkeys(("batch", "becomes"), "")
    waiting = [job for job in staged if job.state is State.PENDING]
    await lanes.touch(db, waiting)
    timed = [
        UpdateOne({**mine, "_id": job.id}, {"$set": {"state": "pending", "deadline": job.expires_at}, "$unset": gone})
        for job in waiting
        if job.expires_at is not None
    ]
    if timed:
        await db.jobs.bulk_write(timed, ordered=False)
    for state in sorted({job.state for job in staged}, key=lambda state: state is not State.PENDING):
        change = {"$set": {"state": state.value}, "$unset": {**gone, "deadline": ""}}
        await db.jobs.update_many({**mine, "becomes": {"$eq": state.value}}, change)
    await db.batches.delete_one({"_id": batch, "accepted": True})


async def discard(db: Database, batch: str) -> None:
    """Remove what is staged of a batch."""
    await db.logs.delete_many({"batch": {"$eq": batch}})
    await db.jobs.delete_many({"batch": {"$eq": batch}, "state": {"$eq": STAGED}})


# -- what others left ---------------------------------------------------------------------------------------------


async def settle_staged(db: Database, found: Sequence[Document]) -> int:
    """Bring the batches of these staged jobs to their end, as far as may be; how many batches came to one."""
    batches = {job["batch"]: job["deadline"] for job in found if job["state"] == STAGED}
    ends = await together(_settle_batch(db, batch, overdue) for batch, overdue in sorted(batches.items()))
    return sum(ends)


async def _settle_batch(db: Database, batch: str, overdue: float) -> bool:
    known = await db.batches.find_one({"_id": batch})
    if known is None:
        if overdue - OVER > db.clock.past():  # its submitter is at it
            return False
        try:
            await db.batches.insert_one({"_id": batch, "accepted": False, "at": db.clock.now()})
        except DuplicateKeyError:
            known = await db.batches.find_one({"_id": batch})
    if known is None or not known["accepted"]:
        await discard(db, batch)
        await keys.give_back_unheld(db, batch)
        return True
    mine = {"batch": {"$eq": batch}, "state": {"$eq": STAGED}}
    staged = await db.jobs.find(mine).to_list()
    async with db.board.flight(1):  # whoever has seen nothing before looks again
        await _unstage(db, batch, [jobs.record({**job, "state": job["becomes"]}) for job in staged])
    return True


async def forget(db: Database, now: float) -> None:
    """Drop what is known of batches that came to their end long ago."""
    await db.batches.delete_many({"at": {"$lt": now - _KEEP}})
