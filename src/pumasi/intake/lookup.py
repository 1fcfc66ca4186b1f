"""Which job is meant: ids may be shortened to what is unique."""

from pumasi.broker import Broker
from pumasi.core.job import MAX_ID, Job, Query
from pumasi.errors import Invalid, JobNotFound

#: ids named in a message
_SHOWN = 5
#: characters of one of our ids; a text as long is no prefix
_FULL = 36


async def locate(broker: Broker, id: str) -> Job:
    """The job with this id, or the only one whose id begins with it.

    Raises:
        JobNotFound: there is none.
        Invalid: there are several; the message names them.
    """
    try:
        return await broker.get(id)
    except JobNotFound:
        if not id or len(id) >= _FULL or len(id) > MAX_ID:
            raise
    page = await broker.find(Query(prefix=id, limit=_SHOWN + 1))
    if not page.jobs:
        raise JobNotFound(id=id)
    if len(page.jobs) > 1:
        names = [job.id for job in page.jobs]
        raise Invalid(
            "{id!r} begins the ids of several jobs; give more of it: {candidates}",
            id=id,
            candidates=", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else ""),
        )
    return page.jobs[0]
