"""A worker that only claims and settles, so that the gateway can be tested without running scripts."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

from pumasi.broker import Broker
from pumasi.core.job import Cause, Job, Record
from pumasi.core.outcome import Completed, Failed, Outcome


def echo(job: Job) -> Outcome:
    """Completed with the parameters; `{"fail": "why"}` fails with that."""
    values = job.parameter_values
    if "fail" in values:
        return Failed(cause=Cause.EXIT, error=values["fail"])
    return Completed(result=json.dumps(values))


@contextlib.asynccontextmanager
async def worker(broker: Broker, outcome: Callable[[Job], Outcome] = echo, log: bytes = b"") -> AsyncIterator[None]:
    """While the block runs, every job is claimed and settled at once."""

    async def work() -> None:
        while True:
            for lease in await broker.claim("fake", ["default"], 8, 2**40, 60.0):
                if log:
                    await broker.append(lease, [Record(lease.job.attempt << 32 | 1, 0.0, "stdout", log)])
                await broker.settle(lease, outcome(lease.job))

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
