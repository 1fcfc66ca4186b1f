"""Telling the broker what has finished: kept on disk first, then told until it has answered."""

import asyncio
import contextlib

from pumasi.broker import Broker
from pumasi.core.job import Cause, Lease
from pumasi.core.outcome import Completed, Failed, Outcome, Released
from pumasi.errors import Invalid, JobNotFound, LeaseLost, Unavailable
from pumasi.log import get_logger
from pumasi.runner.runner import Finished
from pumasi.worker.pace import delays
from pumasi.worker.spool import Spool
from pumasi.worker.stats import Tally

log = get_logger(__name__)


class Delivery:
    """The way up. Nothing that finished is forgotten before the broker knows it."""

    def __init__(self, broker: Broker, spool: Spool, tally: Tally) -> None:
        self._broker = broker
        self._spool = spool
        self._tally = tally

    async def deliver(self, finished: Finished) -> None:
        """Keep, tell, forget. Cancelled before the broker answers, it stays in the spool."""
        number = await self._keep(finished)
        await self._tell(finished)
        if number is not None:
            self._spool.drop(number)

    async def replay(self) -> None:
        """Tell what earlier workers on this machine had finished and could not tell any more."""
        try:
            adopted = await self._spool.adopt()
        except OSError as error:  # they stay where they are, for the next worker
            log.error("worker.spool_failed", reason=str(error))
            return
        for number, finished in adopted:
            log.info("worker.replayed", task_id=finished.lease.id)
            await self._tell(finished)
            self._spool.drop(number)

    async def _keep(self, finished: Finished) -> int | None:
        """A full disk is no reason to tell nobody."""
        try:
            return await self._spool.put(finished)
        except OSError as error:
            log.error("worker.spool_failed", reason=str(error))
            return None

    async def _tell(self, finished: Finished) -> None:
        """Blobs and records before the outcome, which ends the lease; again until there is an answer."""
        lease = finished.lease
        for delay in delays():
            try:
                for key, data in finished.blobs.items():
                    await self._broker.put_blob(key, data)
                with contextlib.suppress(LeaseLost):  # whether it is lost is for the settle to say
                    await self._broker.append(lease, finished.records)
                await self._broker.settle(lease, finished.outcome)
            except Unavailable as error:
                log.warning("worker.settle_failed", task_id=lease.id, reason=str(error), seconds=round(delay, 1))
                await asyncio.sleep(delay)
            except (LeaseLost, JobNotFound):
                self._tally.lost += 1
                log.warning("worker.lease_lost", task_id=lease.id)
                return
            except Invalid as error:  # the broker can never keep this: the job ends, and says so
                log.error("worker.refused", task_id=lease.id, reason=str(error))
                if finished.refused:
                    return
                finished = _refused(finished, error)
            else:
                _log_end(lease, finished.outcome)
                return


def _refused(finished: Finished, error: Invalid) -> Finished:
    """What is told in place of what the broker would not take."""
    outcome = Failed(cause=Cause.OUTPUT, error=str(error), retryable=False)
    return Finished(lease=finished.lease, outcome=outcome, refused=True)


def _log_end(lease: Lease, outcome: Outcome) -> None:
    match outcome:
        case Completed():
            log.info("job.completed", task_id=lease.id, script=lease.job.reference)
        case Failed():
            log.info("job.failed", task_id=lease.id, script=lease.job.reference, cause=outcome.cause.value)
        case Released():
            log.info("job.released", task_id=lease.id, script=lease.job.reference, reason=outcome.reason)
        case _:
            log.info("job.cancelled", task_id=lease.id, script=lease.job.reference)
