"""The pulse: one heartbeat for all leases, from a thread with an event loop and a broker connection of its own.

A blocked work loop cannot stop it, so no lease lapses while a callback is slow. But liveness is progress of the work
loop, not of this thread: when that loop has not turned for a long time, the pulse ends the process; the keepers then
kill what they run, and the leases lapse as they should.
"""

import asyncio
import contextlib
import contextvars
import os
import random
import threading
import time
from collections.abc import Callable

from msgspec import Struct

from pumasi.broker import connect
from pumasi.core.job import Held, Lease, Stop, Worker
from pumasi.errors import Error
from pumasi.log import get_logger

#: exit code of a worker whose work loop is stuck (EX_TEMPFAIL of sysexits.h: a supervisor may start it again)
EXIT_STUCK = 75
#: seconds after which a run that still goes on is told to have begun: most have ended by then, and need no word
STARTED_SECONDS = 0.02
#: leases a work loop may be stuck for
PATIENCE = 3

log = get_logger(__name__)


class Beat(Struct, frozen=True):
    """What the pulse asks the worker before each heartbeat, from the pulse's thread."""

    worker: Worker
    leases: tuple[Held, ...]


class Pulse:
    """Runs from `start` to `stop`."""

    def __init__(
        self,
        url: str,
        interval: float,
        *,
        beat: Callable[[], Beat],
        on_answer: Callable[[list[Stop]], None],
        on_extended: Callable[[float], None],
    ) -> None:
        self._url = url
        self._interval = interval
        self._beat = beat
        self._on_answer = on_answer
        self._on_extended = on_extended
        self._work_loop = asyncio.get_running_loop()
        self._silent = 0.0
        self._beat_at = time.monotonic()
        self._lock = threading.Lock()
        self._started: list[Held] = []
        self._wake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        # the thread logs as the worker does: under the same context
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=lambda: context.run(lambda: asyncio.run(self._run())), name="pulse", daemon=True
        )

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def started(self, lease: Lease) -> None:
        """The run of a lease begins: the broker is told unless it has ended in a moment."""
        with self._lock:
            self._started.append(Held(lease.id, lease.token, started=True))
            first = len(self._started) == 1
        if first:
            self._work_loop.call_later(STARTED_SECONDS, self._tell_started)

    def _tell_started(self) -> None:
        held = {lease.token for lease in self._beat().leases}
        with self._lock:
            self._started = [started for started in self._started if started.token in held]
            any_left = bool(self._started)
        if any_left:
            self.now()

    def now(self) -> None:
        """Beat at once."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(wake.set)

    async def stop(self) -> None:
        """Beat no more; a goodbye is the worker's business."""
        self._stopping = True
        self.now()
        await asyncio.to_thread(self._thread.join, 5)

    async def _run(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        broker = connect(self._url)
        opened = False
        while not self._stopping:
            try:
                if not opened:
                    await broker.open()
                    opened = True
                self._check_work_loop(broker.lease)
                sent_at = time.monotonic()
                async with asyncio.timeout(broker.lease):
                    stops = await broker.heartbeat(*self._next())
                self._on_extended(broker.lease - (time.monotonic() - sent_at))
                if stops:
                    self._work_loop.call_soon_threadsafe(self._on_answer, stops)
            except (Error, TimeoutError) as error:
                log.warning("worker.heartbeat_failed", reason=str(error))
            except RuntimeError:  # the work loop is closed: the worker is gone
                break
            await self._pause()
        await broker.close()

    def _next(self) -> tuple[Worker, list[Held]]:
        """What to send: all leases, those begun since the last beat marked so."""
        with self._lock:
            started, self._started = self._started, []
        beat = self._beat()
        begun = {held.token for held in started}
        return beat.worker, [Held(held.id, held.token, held.token in begun) for held in beat.leases]

    async def _pause(self) -> None:
        assert self._wake is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._interval * random.uniform(0.9, 1.0)):
                await self._wake.wait()
        self._wake.clear()

    def _check_work_loop(self, lease: float) -> None:
        """Ask the work loop to turn; end the process when it has not for a long time.

        Between two beats at most one interval counts: a process that was frozen as a whole is not stuck.
        """
        now = time.monotonic()
        self._silent += min(now - self._beat_at, self._interval)
        self._beat_at = now
        if self._silent > PATIENCE * lease:
            log.error("worker.stuck", seconds=round(self._silent))
            os._exit(EXIT_STUCK)
        self._work_loop.call_soon_threadsafe(self._turned)

    def _turned(self) -> None:
        self._silent = 0.0
