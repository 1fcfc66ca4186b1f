"""Why a pending job waits: pure, over what a broker tells. The first reasons are those that somebody must act on."""

from collections.abc import Sequence

from pumasi.core.job import Job, Queue, State, Worker
from pumasi.core.limits import free_at
from pumasi.locale import gettext as _
from pumasi.units import format_duration, format_size


def why_waiting(
    job: Job, *, now: float, queue: Queue | None, workers: Sequence[Worker], others: Sequence[Job], more: bool = False
) -> list[str]:
    """Sentences in the reader's language; none when the job is not pending.

    Args:
        now: the broker's time, or one near it.
        queue: the job's queue, when it is known.
        workers: those the broker lists.
        others: pending jobs of the same queue, and running jobs; `job` itself may be among them.
        more: `others` is a part of them only.
    """
    if job.state is not State.PENDING:
        return []
    if job.run_at > now:
        return [*_retried(job), _("it is due in {duration}").format(duration=format_duration(job.run_at - now))]
    reasons = _paused(queue) + _unserved(job, workers) + _too_large(job, workers) + _limited(job, others, now)
    return reasons or _queued(job, workers, others, now, more)


def _retried(job: Job) -> list[str]:
    if not job.retries_used and not job.fetch_faults:
        return []
    return [
        _("attempt {number} failed ({cause}), it is tried again").format(number=job.attempt, cause=job.cause or "?")
    ]


def _paused(queue: Queue | None) -> list[str]:
    if queue is None or not queue.paused:
        return []
    return [_("queue {queue} is paused; `pumasi queues resume {queue}` lets it go on").format(queue=queue.name)]


def _live(workers: Sequence[Worker]) -> list[Worker]:
    return [worker for worker in workers if worker.status == "active"]


def _serving(job: Job, workers: Sequence[Worker]) -> list[Worker]:
    return [worker for worker in _live(workers) if job.queue in worker.queues]


def _unserved(job: Job, workers: Sequence[Worker]) -> list[str]:
    if not _live(workers):
        return [_("no worker is alive; start one with `pumasi worker`")]
    if not _serving(job, workers):
        text = _("no worker serves queue {queue}; start one with `pumasi worker --queue {queue}`")
        return [text.format(queue=job.queue)]
    return []


def _too_large(job: Job, workers: Sequence[Worker]) -> list[str]:
    largest = max((worker.memory_total for worker in _serving(job, workers)), default=0)
    if not largest or job.required_memory <= largest:
        return []
    text = _("it needs {needed} of memory, and no worker has more than {largest}")
    return [text.format(needed=format_size(job.required_memory), largest=format_size(largest))]


def _limited(job: Job, others: Sequence[Job], now: float) -> list[str]:
    """Whether a limit that it shares with others by a key keeps it back."""
    limit = job.limit
    if limit is None:
        return []
    sharing = [other for other in others if other.limit is not None and other.limit.key == limit.key]
    running = sum(1 for other in sharing if other.state is State.RUNNING and other.id != job.id)
    starts = sorted(other.claimed_at for other in sharing if other.claimed_at is not None)
    free = free_at(limit, running, starts, now)
    if free is None:
        text = _("limit {key!r} lets {count} run at a time, and so many do")
        return [text.format(key=limit.key, count=limit.concurrency)]
    if free > now:
        text = _("limit {key!r} lets {count} start per {period}; the next may in {duration}")
        period, duration = format_duration(limit.period), format_duration(free - now)
        return [text.format(key=limit.key, count=limit.count, period=period, duration=duration)]
    return []


def _queued(job: Job, workers: Sequence[Worker], others: Sequence[Job], now: float, more: bool) -> list[str]:
    place = _place(job)
    pending = [other for other in others if other.state is State.PENDING and other.queue == job.queue]
    ahead = sum(1 for other in pending if other.id != job.id and other.run_at <= now and _place(other) < place)
    serving = _serving(job, workers)
    if ahead:
        text = _("at least {count} jobs are ahead of it") if more else _("{count} jobs are ahead of it")
        return [text.format(count=ahead)]
    if all(worker.slots_used >= worker.slots_total for worker in serving):
        return [_("it is next; all slots of the workers that serve its queue are taken")]
    if all(worker.memory_free < job.required_memory for worker in serving):
        text = _("it is next; no worker has {needed} of memory free for it now")
        return [text.format(needed=format_size(job.required_memory))]
    return [_("it is next; a worker will take it in a moment")]


def _place(job: Job) -> tuple[float, float, str]:
    """The order in which jobs are handed out."""
    return (-job.priority, job.run_at, job.id)
