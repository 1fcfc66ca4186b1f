"""`/metrics`: what Prometheus reads.

Numbers that the broker knows (jobs, queues, workers) are asked for at each scrape, so a restart of the gateway changes
none of them. The two histograms are fed by `watch`, and count what happened while this gateway was up, which is how
Prometheus expects it. Sums over workers fall when a worker leaves: all of them are gauges.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from pumasi.broker import Broker
from pumasi.closing import closing
from pumasi.core.job import Job, Query, Queue, State, Stats, Worker
from pumasi.errors import Unavailable
from pumasi.log import get_logger

log = get_logger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
#: seconds; claims take milliseconds, runs up to hours
_WAITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_RUNS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
#: seconds until a watch that broke is begun again
_AGAIN = 2.0

Rows = Iterable[tuple[Sequence[str], float]]

#: statistics that workers tell of themselves, and how those of several become one number
_SUMS = ("tasks_claimed", "tasks_completed", "tasks_failed", "memory_usage_mb", "cpu_percent", "lease_losses")
_MAXIMA = ("uptime_seconds", "consecutive_errors")


class Metrics:
    """A registry of its own, fed by `observe`, and filled up at each scrape."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._registry = CollectorRegistry()
        self._waits = Histogram(
            "pumasi_claim_wait_seconds",
            "Time from being due to being claimed",
            ["queue"],
            buckets=_WAITS,
            registry=self._registry,
        )
        self._runs = Histogram(
            "pumasi_run_seconds", "Time of the last run of a job", ["script"], buckets=_RUNS, registry=self._registry
        )
        #: the attempt last seen of each running job
        self._attempts: dict[str, int] = {}

    async def observe(self) -> None:
        """Watch jobs, for ever; an interruption of the broker is waited out, and made up for."""
        position: int | None = None
        while True:
            try:
                if position is None:
                    position = await self._broker.position()
                async with closing(self._broker.watch(Query(), position)) as events:
                    async for event in events:
                        position = event.change
                        self.see(event.job)
            except Unavailable as error:
                log.debug("gateway.metrics_interrupted", error=str(error))
            except Exception as error:  # whatever it is, the gateway does its work without these two histograms
                log.error("gateway.failed", path="/metrics", exc_info=error)
            await asyncio.sleep(_AGAIN)

    def see(self, job: Job) -> None:
        """Count what a changed job tells; each attempt once, however often it is told."""
        claimed = job.claimed_at
        if claimed is not None and job.attempt and self._attempts.get(job.id) != job.attempt:
            if job.state is not State.PENDING:  # pending again: `run_at` is that of the next attempt
                self._waits.labels(job.queue).observe(max(0.0, claimed - job.run_at))
            self._attempts[job.id] = job.attempt
        if not job.ended:
            return
        self._attempts.pop(job.id, None)
        begun = job.started_at or claimed
        if begun is not None and job.ended_at is not None:
            self._runs.labels(job.script).observe(max(0.0, job.ended_at - begun))

    async def exposition(self) -> bytes:
        """The text that Prometheus reads. Raises: Unavailable."""
        stats = await self._broker.stats()
        now = CollectorRegistry()
        now.register(_Snapshot(stats))
        return await asyncio.to_thread(lambda: generate_latest(now) + generate_latest(self._registry))


class _Snapshot(Collector):
    """Stats as families of gauges."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = [((state, script, cause), n) for state, script, cause, n in self._stats.jobs]
        yield _family("pumasi_jobs", "Jobs that are kept", ("state", "script", "cause"), jobs)
        for name, help, number in _QUEUES:
            yield _family(name, help, ("queue",), [((queue.name,), number(queue)) for queue in self._stats.queues])
        yield from self._workers([worker for worker in self._stats.workers if worker.status != "lost"])

    def _workers(self, alive: Sequence[Worker]) -> Iterator[GaugeMetricFamily]:
        statuses = dict.fromkeys(("active", "draining", "lost"), 0)
        for worker in self._stats.workers:
            statuses[worker.status] = statuses.get(worker.status, 0) + 1
        yield _family("pumasi_workers", "Workers", ("status",), [((name,), n) for name, n in statuses.items()])
        for name, value in together(alive).items():
            yield _family(f"pumasi_{name}", _HELP.get(name, "As the workers tell"), (), [((), value)])


def together(workers: Sequence[Worker]) -> dict[str, float]:
    """The statistics of all workers as one: sums; of times and of errors in a row the greatest; of rates the mean by
    tasks."""
    told = [worker.stats for worker in workers]
    all_of = {name: sum(stats.get(name, 0.0) for stats in told) for name in _SUMS}
    all_of |= {name: max((stats.get(name, 0.0) for stats in told), default=0.0) for name in _MAXIMA}
    ended = [stats.get("tasks_completed", 0.0) + stats.get("tasks_failed", 0.0) for stats in told]
    total = sum(ended)
    seconds = sum(stats.get("avg_processing_time", 0.0) * n for stats, n in zip(told, ended, strict=True))
    return all_of | {
        "success_rate": all_of["tasks_completed"] / total if total else 0.0,
        "avg_processing_time": seconds / total if total else 0.0,
        "slots_used": float(sum(worker.slots_used for worker in workers)),
        "slots_total": float(sum(worker.slots_total for worker in workers)),
    }


def _family(name: str, help: str, labels: Sequence[str], rows: Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


_QUEUES: tuple[tuple[str, str, Callable[[Queue], float]], ...] = (
    ("pumasi_queue_pending", "Jobs that wait", lambda queue: queue.pending),
    ("pumasi_queue_due", "Jobs that wait and could start", lambda queue: queue.due),
    ("pumasi_queue_running", "Jobs that run", lambda queue: queue.running),
    ("pumasi_queue_oldest_age_seconds", "Age of the due job that has waited longest", lambda queue: queue.oldest_age),
    ("pumasi_queue_paused", "1 when nothing is handed out", lambda queue: queue.paused),
)

_HELP = {
    "tasks_claimed": "Runs that the workers alive have claimed",
    "tasks_completed": "Runs that ended completed",
    "tasks_failed": "Runs that ended failed",
    "lease_losses": "Runs whose lease was lost",
    "success_rate": "Part of the ended runs that completed",
    "avg_processing_time": "Mean seconds of a run",
    "memory_usage_mb": "Memory of the worker processes, in MB",
    "cpu_percent": "CPU of the worker processes, in percent of a core",
    "consecutive_errors": "Most failures in a row of any worker",
    "uptime_seconds": "Age of the oldest worker",
    "slots_used": "Slots in use",
    "slots_total": "Slots there are",
}
