"""The worker's work loop."""

import asyncio
import contextlib
import functools
import os
import socket
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from msgspec import Struct

from pumasi import __version__
from pumasi.broker import connect
from pumasi.config import Settings
from pumasi.core.ids import new_token
from pumasi.core.job import Held, Lease, Limits, Stop
from pumasi.core.job import Worker as WorkerRecord
from pumasi.core.outcome import Released
from pumasi.errors import Error, Unavailable
from pumasi.log import bound, get_logger
from pumasi.runner.journal import Journal
from pumasi.runner.overflow import Overflow
from pumasi.runner.runner import Rules, Run
from pumasi.runner.scratch import ScratchRoot
from pumasi.sandbox.inside import kernel
from pumasi.sandbox.templates import Templates
from pumasi.scripts.cache import Cache
from pumasi.worker.admission import Admission
from pumasi.worker.bare import BareJobs
from pumasi.worker.delivery import Delivery
from pumasi.worker.pace import background, delays, every, set_within
from pumasi.worker.pulse import Beat, Pulse
from pumasi.worker.queues import Served
from pumasi.worker.spool import Spool
from pumasi.worker.stats import Tally

SWEEP_SECONDS = 5.0
#: a run on a silent broker is killed this long before its lease can expire elsewhere (`on_partition = "kill"`)
FENCE_MARGIN = 5.0
#: seconds to wait before looking again whether the disk has room
DISK_PAUSE = 5.0

EXIT_DRAINED, EXIT_NO_BROKER, EXIT_STOPPED = 0, 1, 130

log = get_logger(__name__)


class _Active(Struct):
    """A lease this worker holds: its run, and whether only the telling is left."""

    lease: Lease
    run: Run
    finished: bool = False


class Worker:
    """Claims, runs and settles until it is told to drain. Signal handlers call `drain` and `stop`."""

    def __init__(self, settings: Settings, *, broker_url: str | None = None, require_broker: bool = False) -> None:
        self.name = settings.worker_name
        self._settings = settings
        self._host = socket.gethostname()
        self._url = broker_url or settings.broker_url
        self._require_broker = require_broker
        self._broker = connect(self._url, blobs=settings.blobs, defaults=settings.broker_options, zone=settings.zone)
        self.queues = settings.queues or ("default", *self._broker.inlets)
        self._served = Served(self._broker, self.queues, settings.poll_interval)
        self._cache = Cache(settings.cache_dir)
        self._bare = BareJobs(settings.scripts, settings.script_paths, self._cache)
        self._scratch = ScratchRoot(settings.data_dir / "scratch", self.name)
        self._templates = Templates(
            settings.isolation,
            python=settings.python,
            visible=[str(folder.absolute()) for folder in settings.visible],
            cache=self._cache.folder,
            scratch=self._scratch.folder,
            slots=settings.slots,
            memory=settings.memory_limit,
        )
        self._spool = Spool(settings.spool_dir, self.name)
        self._tally = Tally()
        self._delivery = Delivery(self._broker, self._spool, self._tally)
        self._rules = _rules(settings, self._broker.lease)
        self._active: dict[str, _Active] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs_begun = 0
        self._room = asyncio.Event()
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        #: set once it is connected and claims
        self.ready = asyncio.Event()

    @property
    def level(self) -> str:
        """The level of isolation; empty before `probe`."""
        return self._templates.level

    async def probe(self) -> None:
        """Find the level of isolation by running a first program in it; safe to repeat.

        Raises: BadSetting (the level that was set cannot be had), OSError (our own folders cannot be used).
        """
        if not self.level:
            await asyncio.to_thread(self._scratch.open)
            await self._templates.open()

    async def release(self) -> None:
        """Give back what `probe` has taken, for a worker that does not run; safe to repeat."""
        await self._templates.close()
        await asyncio.to_thread(self._scratch.close)

    def drain(self) -> None:
        """Claim no more; let runs finish for a while, release the rest, then end. Safe to repeat."""
        if not self._draining.is_set():
            log.info("worker.draining", runs=len(self._active), seconds=self._settings.drain)
            self._draining.set()
            self._room.set()

    def stop(self) -> None:
        """End now: kill the runs and release their jobs."""
        self._draining.set()
        self._stopping.set()
        self._room.set()

    async def run(self) -> int:
        """Work until drained; returns the exit code of the process (docs: "Exit codes").

        Raises: Invalid (a setting or the broker's file will never do), OSError (our own folders cannot be used).
        """
        with bound(worker_id=self.name):
            try:
                return await self._run()
            finally:
                await self.release()

    async def _run(self) -> int:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)  # no other process of this user reads our memory, or our environment
        if not await self._connect():
            return EXIT_NO_BROKER if self._require_broker else EXIT_DRAINED
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._admission = Admission(self._settings.memory, self._settings.data_dir)
        await self.probe()
        self._spool.open()
        self._pulse = Pulse(
            self._url,
            self._settings.heartbeat,
            beat=self._beat,
            on_answer=self._on_stops,
            on_extended=self._on_extended,
        )
        self._pulse.start()
        try:
            async with background(self._delivery.replay(), self._hear_stops(), *self._housekeeping()):
                log.info("worker.started", worker=self.name, slots=self._settings.slots, queues=", ".join(self.queues))
                self.ready.set()
                await self._claim_until_drained()
                await self._finish_runs()
        finally:
            await self._close()
        log.info("worker.stopped", completed=self._tally.completed, failed=self._tally.failed)
        return EXIT_STOPPED if self._stopping.is_set() else EXIT_DRAINED

    # -- claiming -------------------------------------------------------------------------------------------------

    async def _connect(self) -> bool:
        """Open the broker, for as long as it takes; False when it is required at once, or a drain came first."""
        for delay in delays():
            try:
                await self._broker.open()
                for concern in self._broker.concerns():
                    log.warning("broker.concern", reason=str(concern))
                return True
            except Unavailable as error:
                if self._require_broker:
                    log.error("worker.broker_required", url=self._broker.url, reason=str(error))
                    return False
                log.warning("worker.no_broker", url=self._broker.url, reason=str(error), seconds=round(delay, 1))
            if await set_within(self._draining, delay):
                return False
        return False

    async def _claim_until_drained(self) -> None:
        claim_id = new_token()
        waits = delays()
        while not self._draining.is_set():
            free = self._free_slots()
            if free <= 0 or self._admission.disk_is_short():
                await self._wait_for_room(full=free <= 0)
                continue
            try:
                leases = await self._claim(free, claim_id)
            except Unavailable as error:
                delay = next(waits)
                log.warning("worker.claim_failed", reason=str(error), seconds=round(delay, 1))
                await set_within(self._draining, delay)
                continue  # under the same claim id: an answer that was lost is given again
            claim_id, waits = new_token(), delays()
            for lease in leases:
                self._begin(lease)

    def _free_slots(self) -> int:
        """Slots without a run, as far as the worker may still begin runs."""
        free = self._settings.slots - self._busy()
        most = self._settings.max_runs
        return min(free, most - self._runs_begun) if most else free

    def _busy(self) -> int:
        """Slots with a run; the pulse's thread asks, too."""
        return sum(1 for active in list(self._active.values()) if not active.finished)

    async def _claim(self, slots: int, claim_id: str) -> list[Lease]:
        """A claim that a drain interrupts; what it had won by then is released."""
        wait = min(self._settings.claim_wait, self._settings.poll_interval)
        claim = functools.partial(
            self._broker.claim, self.name, await self._served.now(), memory=self._admission.free, claim_id=claim_id
        )
        claiming = asyncio.ensure_future(claim(slots=slots, wait=wait))
        draining = asyncio.ensure_future(self._draining.wait())
        await asyncio.wait({claiming, draining}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        if not claiming.done():
            claiming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await claiming
            for lease in await claim(slots=0, wait=0.0):
                await self._broker.settle(lease, Released(reason="drain"))
            return []
        return claiming.result()

    async def _wait_for_room(self, *, full: bool) -> None:
        if not full:
            log.warning("worker.disk_short", folder=str(self._settings.data_dir))
            await set_within(self._draining, DISK_PAUSE)
            return
        self._room.clear()
        if not self._draining.is_set():
            await self._room.wait()

    # -- running --------------------------------------------------------------------------------------------------

    def _begin(self, lease: Lease) -> None:
        """Give a lease a slot and a task."""
        self._runs_begun += 1
        self._tally.claimed += 1
        self._admission.used += lease.job.required_memory
        most = self._settings.full_log_limit
        overflow = None if most is None else Overflow(self._settings.spool_dir, most)
        journal = Journal(lease.job.attempt, functools.partial(self._broker.append, lease), overflow)
        run = Run(
            lease,
            rules=self._rules,
            cache=self._cache,
            templates=self._templates,
            scratch=self._scratch,
            get_blob=self._broker.get_blob,
            journal=journal,
            on_birth=functools.partial(self._on_birth, lease),
            find=self._bare.find,
        )
        self._active[lease.token] = _Active(lease, run)
        task = asyncio.create_task(self._execute(self._active[lease.token]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._settings.max_runs and self._runs_begun >= self._settings.max_runs:
            self.drain()

    async def _execute(self, active: _Active) -> None:
        """A run, from its lease to the broker's answer."""
        began = time.monotonic()
        log.debug("job.started", task_id=active.lease.id, script=active.lease.job.reference)
        try:
            finished = await active.run.execute()
        finally:
            active.finished = True
            self._admission.used -= active.lease.job.required_memory
            self._room.set()
        self._tally.ended(finished.outcome, time.monotonic() - began)
        try:
            await self._delivery.deliver(finished)
        finally:
            del self._active[active.lease.token]
            self._room.set()

    async def _on_birth(self, lease: Lease) -> None:
        """Just before the fork. A job that must not run twice waits for the answer; the others do not."""
        if lease.job.on_lost == "retry":
            self._pulse.started(lease)
            return
        stops = await self._broker.heartbeat(self._record(), [Held(lease.id, lease.token, started=True)])
        if stops:
            self._on_stops(stops)

    # -- stopping -------------------------------------------------------------------------------------------------

    async def _finish_runs(self) -> None:
        """After the drain time, or a second signal, release what still runs."""
        if self._tasks:
            stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stopping.wait())
            runs: asyncio.Future[Any] = asyncio.gather(*self._tasks)
            await asyncio.wait({stopping, runs}, timeout=self._settings.drain, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for active in list(self._active.values()):
                active.run.stop("drain", gently=not self._stopping.is_set())
            await asyncio.wait({runs}, timeout=self._settings.grace + 10.0)
            runs.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await runs

    async def _close(self) -> None:
        await self._pulse.stop()
        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(5):
                await self._broker.heartbeat(self._record(status="stopped"), [])
        await self._spool.close()
        await self._broker.close()

    def _on_stops(self, stops: list[Stop]) -> None:
        """The broker's word on runs that must not go on."""
        for stop in stops:
            active = self._active.get(stop.token)
            if active is not None and not active.finished:
                log.info("job.stopping", task_id=stop.id, reason=stop.reason)
                active.run.stop(stop.reason, gently=stop.reason == "cancelled")

    async def _hear_stops(self) -> None:
        """Cancels by bell: quicker than the next heartbeat, which tells of them too."""
        while True:
            try:
                async for id in self._broker.stops(self.name):
                    runs = [token for token, active in self._active.items() if active.lease.id == id]
                    self._on_stops([Stop(id, token, "cancelled") for token in runs])
                return
            except Unavailable as error:
                log.warning("worker.housekeeping_failed", reason=str(error))

    # -- the pulse ------------------------------------------------------------------------------------------------

    def _beat(self) -> Beat:
        """Called from the pulse's thread."""
        leases = tuple(Held(active.lease.id, token) for token, active in list(self._active.items()))
        return Beat(self._record(), leases)

    def _on_extended(self, seconds: float) -> None:
        """Called from the pulse's thread: the leases hold for so long."""
        for active in list(self._active.values()):
            if not active.finished:
                active.run.extend(max(1.0, seconds - FENCE_MARGIN))

    def _record(self, status: str | None = None) -> WorkerRecord:
        used = self._busy()
        return WorkerRecord(
            id=self.name,
            status=status or ("draining" if self._draining.is_set() else "active"),  # type: ignore[arg-type]
            host=self._host,
            pid=os.getpid(),
            version=__version__,
            queues=self.queues,
            isolation=self.level,
            slots_total=self._settings.slots,
            slots_used=used,
            memory_total=self._admission.total,
            memory_free=self._admission.free,
            started_at=self._tally.started_at,
            stats=self._tally.stats(used, self._settings.slots),
        )

    # -- housekeeping ---------------------------------------------------------------------------------------------

    def _housekeeping(self) -> Iterator[Coroutine[Any, Any, None]]:
        cache_age = self._settings.cache_cleanup_interval
        yield every(SWEEP_SECONDS, lambda: self._broker.sweep(forget=False))
        yield every(self._settings.cleanup_interval, self._broker.sweep)
        yield every(cache_age, lambda: self._cache.clean(cache_age))


def _rules(settings: Settings, lease: float) -> Rules:
    return Rules(
        limits=Limits(
            memory=settings.memory_limit,
            cpu=settings.cpu_limit,
            processes=settings.process_limit,
            open_files=settings.file_limit,
            disk=settings.disk_limit,
            output=settings.output_limit,
        ),
        timeout=settings.timeout,
        result_limit=settings.result_limit,
        grace=settings.grace,
        nice=settings.nice,
        python=settings.python,
        allow_env=settings.allow_env,
        fence=max(1.0, lease - FENCE_MARGIN) if settings.on_partition == "kill" else None,
    )
