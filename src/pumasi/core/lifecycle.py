"""The life of a job: every change of state there is, as pure functions over the record.

    submitted ─► pending ──claimed──► running ──settled──► completed | failed | cancelled
                    ▲  │                │ │
                    │  └─cancelled, expired (ended at once)
                    └──── retry, release, lost lease ──────┘

Each function returns the new record, or the same object when nothing changes. A backend compares and swaps; it decides
nothing. The caller brings the time (`now`, by the broker's clock) and the chance (`[0, 1)`).
"""

from typing import Literal

from msgspec import NODEFAULT
from msgspec.structs import fields, replace

from pumasi.core.job import Cause, Job, State
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released, Report
from pumasi.core.retry import retry_after
from pumasi.errors import LeaseLost

#: workers that may die under a job before it ends as `lost`; releases for a sandbox fault before it ends as `sandbox`
MAX_DEATHS = 3
MAX_SANDBOX_FAULTS = 3

#: the part of a record that is not the submitter's to say: where the job stands, how it ended
_UNTOUCHED = {
    field.name: field.default if field.default_factory is NODEFAULT else field.default_factory()
    for field in fields(Job)[Job.__struct_fields__.index("state") :]
}


def submitted(job: Job, now: float) -> Job:
    """The record as it is first stored: pending, created now, due now unless it says later, and nothing more."""
    return replace(job, **_UNTOUCHED, created_at=now, run_at=job.run_at or now)


def claimable(job: Job, now: float) -> bool:
    """Whether a worker may have the job now, keyed limits and memory aside."""
    return job.state is State.PENDING and job.run_at <= now and not expired(job, now)


def expired(job: Job, now: float) -> bool:
    """Whether the job waited too long to be started at all."""
    return job.state is State.PENDING and job.expires_at is not None and job.expires_at <= now


def lapsed(job: Job, now: float) -> bool:
    """Whether the job is running on a lease that nobody has extended in time."""
    return job.state is State.RUNNING and (job.lease_until or 0.0) <= now


def claimed(job: Job, *, worker: str, claim_id: str | None, token: str, now: float, lease: float) -> Job:
    """The record once a worker holds it for `lease` seconds; a claimable job is required."""
    return replace(
        job,
        state=State.RUNNING,
        attempt=job.attempt + 1,
        worker=worker,
        claim_id=claim_id,
        token=token,
        lease_until=now + lease,
        claimed_at=now,
        started_at=None,
        progress=None,
    )


def cancelled(job: Job, now: float) -> Job:
    """What a cancel makes of the job: an ending when it waits, a flag when it runs, nothing when it has ended."""
    if job.state is State.PENDING:
        return _ended(replace(job, cancel_requested=True), State.CANCELLED, Cause.CANCELLED, "cancelled", now)
    if job.state is State.RUNNING and not job.cancel_requested:
        return replace(job, cancel_requested=True)
    return job


def resolved(job: Job, how: Literal["requeued", "discarded"]) -> Job:
    """A dead letter that somebody has looked after; any other job as it is. Its ending stays what it was."""
    return replace(job, resolved=how) if job.dead else job


def settled(job: Job, token: str, outcome: Outcome, now: float, chance: float) -> Job:
    """What the job becomes when the run that holds `token` ends with `outcome`.

    Repeating a settle whose answer was lost returns the stored record unchanged.

    Raises:
        LeaseLost: another run owns the job, or nobody does any more.
    """
    if job.token != token:
        raise LeaseLost(id=job.id)
    if job.state is not State.RUNNING:
        return job
    job = _observed(job, outcome.report, now)
    match outcome:
        case Completed():
            done = _ended(job, State.COMPLETED, None, None, now)
            return replace(
                done, result=outcome.result, result_blob=outcome.result_blob, result_size=outcome.result_size
            )
        case Cancelled():
            return _ended(job, State.CANCELLED, Cause.CANCELLED, "cancelled", now)
        case Failed():
            return _failed(job, outcome, now, chance)
        case Released():
            return _released(job, outcome, now)


def swept(job: Job, now: float) -> Job:
    """What the job becomes when nobody will claim it: expired, or cancelled or for ever lost under a dead worker.

    A lapsed run that may be tried again stays as it is until a worker with room takes it (`reclaimed`).
    """
    if expired(job, now):
        return _ended(job, State.FAILED, Cause.EXPIRED, "expired: no worker started it in time", now)
    if not lapsed(job, now):
        return job
    after = reclaimed(job, now)
    return after if after.ended else job


def reclaimed(job: Job, now: float) -> Job:
    """What a lapsed run becomes once somebody has room for it: pending again at once, or ended as lost."""
    if not lapsed(job, now):
        return job
    deaths = job.deaths + (1 if job.started_at is not None else 0)
    job = replace(job, deaths=deaths)
    if job.cancel_requested:
        return _ended(job, State.CANCELLED, Cause.CANCELLED, "cancelled (its worker was lost)", now)
    if job.started_at is not None and job.on_lost == "fail":
        return _ended(job, State.FAILED, Cause.LOST, "lost: its worker died or fell silent, and on_lost is fail", now)
    if deaths >= MAX_DEATHS:
        return _ended(job, State.FAILED, Cause.LOST, f"lost: {deaths} workers died or fell silent under it", now)
    return _waiting(job, token=None)


def _failed(job: Job, outcome: Failed, now: float, chance: float) -> Job:
    if job.cancel_requested:
        return _ended(job, State.CANCELLED, Cause.CANCELLED, "cancelled", now)
    delay = retry_after(job, outcome, chance)
    if outcome.cause is Cause.FETCH:
        job = replace(job, fetch_faults=job.fetch_faults + 1)
    if delay is None:
        return _ended(job, State.FAILED, outcome.cause, outcome.error, now)
    if outcome.cause is not Cause.FETCH:
        job = replace(job, retries_used=job.retries_used + 1)
    return _waiting(replace(job, run_at=now + delay, error=outcome.error, cause=outcome.cause))


def _released(job: Job, outcome: Released, now: float) -> Job:
    if job.cancel_requested:
        return _ended(job, State.CANCELLED, Cause.CANCELLED, "cancelled", now)
    if outcome.reason == "sandbox":
        job = replace(job, sandbox_faults=job.sandbox_faults + 1)
        if job.sandbox_faults >= MAX_SANDBOX_FAULTS:
            return _ended(job, State.FAILED, Cause.SANDBOX, outcome.error or "the sandbox failed", now)
    return _waiting(job)


def _waiting(job: Job, **changes: object) -> Job:
    """Pending in its old place. The token stays, so that a repeated settle finds itself, unless `changes` drops it."""
    return replace(job, state=State.PENDING, worker=None, claim_id=None, lease_until=None, **changes)


def _ended(job: Job, state: State, cause: Cause | None, error: str | None, now: float) -> Job:
    return replace(job, state=state, cause=cause, error=error, ended_at=now, lease_until=None, claim_id=None)


def _observed(job: Job, report: Report, now: float) -> Job:
    """With what was seen of its run; a run that was over before anybody said that it began has begun, too."""
    started_at = job.started_at
    if started_at is None and "run" in report.phases:
        started_at = max(job.claimed_at or 0.0, now - report.phases["run"])
    return replace(
        job,
        started_at=started_at,
        exit_code=report.exit_code,
        signal=report.signal,
        peaks=report.peaks,
        enforced=report.enforced,
        isolation=report.isolation,
        openings=report.openings,
        phases=report.phases,
        log_tail=report.log_tail,
        warnings=report.warnings,
        artifacts=report.artifacts,
    )
