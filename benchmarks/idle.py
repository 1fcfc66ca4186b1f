"""What workers ask of a server while there is nothing to do: all that a worker is but its slots, in a few processes."""

import asyncio
import sys
import time

from benchmarks.backends import Backend
from benchmarks.counting import Counter
from benchmarks.notes import Notes, Values
from benchmarks.processes import cpu_seconds
from pumasi.broker import Broker, connect
from pumasi.config import Settings
from pumasi.core.job import Worker
from pumasi.worker.pace import background, every
from pumasi.worker.pulse import Beat, Pulse
from pumasi.worker.worker import SWEEP_SECONDS

WORKERS = 50
PROCESSES = 5
#: seconds until those that have just come have found their pace: connections that nobody uses are closed by then
SETTLED = 35.0
MEMORY = 1 << 40


async def measure(backends: list[Backend], seconds: float, settled: float = SETTLED) -> Values:
    """Operations of all of them in a second, by the server's word and by what went over the wire."""
    notes = Notes()
    for backend in backends:
        if backend.port is None:
            continue
        async with Counter(backend.port) as counter:
            url = counter.url(backend.url())
            async with connect(url):  # the place is made once, not by all at a time
                pass
            crowd = [await _process(url, WORKERS // PROCESSES) for _ in range(PROCESSES)]
            try:
                for process in crowd:
                    assert process.stdout is not None
                    if not await process.stdout.readline():
                        raise RuntimeError(f"{backend.name}: idle workers have ended")
                await asyncio.sleep(settled)
                await _watch(backend, counter, seconds, [process.pid for process in crowd], notes)
            finally:
                for process in crowd:
                    process.terminate()
                    await process.wait()
    return notes.medians()


async def _watch(backend: Backend, counter: Counter, seconds: float, pids: list[int], notes: Notes) -> None:
    asked, operations, cpu, began = counter.asked, backend.operations(), cpu_seconds(pids), time.perf_counter()
    await asyncio.sleep(seconds)
    taken = time.perf_counter() - began
    row = f"{WORKERS} idle workers: "
    notes.add(f"{row}round trips a second", backend.name, (counter.asked - asked) / taken)
    notes.add(f"{row}CPU, % of a core", backend.name, 100 * (cpu_seconds(pids) - cpu) / taken)
    after = backend.operations()
    if operations is not None and after is not None:
        notes.add(f"{row}operations a second, as the server counts", backend.name, (after - operations) / taken)


async def _process(url: str, workers: int) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "benchmarks.idle", url, str(workers)]
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


# -- inside such a process ------------------------------------------------------------------------------------------


async def _crowd(url: str, workers: int) -> None:
    ready = [asyncio.Event() for _ in range(workers)]
    async with asyncio.TaskGroup() as group:
        for number, event in enumerate(ready):
            group.create_task(_idler(url, f"idle-{id(ready)}-{number}", event))
        for event in ready:
            await event.wait()
        print("ready", flush=True)


async def _idler(url: str, name: str, ready: asyncio.Event) -> None:
    """A worker without slots: it claims, it beats, it sweeps."""
    settings = Settings(broker=url)
    async with connect(url) as broker:
        worker = Worker(id=name, queues=("default",), slots_total=4)
        pulse = Pulse(
            url, settings.heartbeat, beat=lambda: Beat(worker, ()), on_answer=lambda _: None, on_extended=lambda _: None
        )
        pulse.start()
        async with background(
            every(SWEEP_SECONDS, lambda: broker.sweep(forget=False)),
            every(settings.cleanup_interval, broker.sweep),
            _hear_stops(broker, name),
        ):
            ready.set()
            while True:
                await broker.claim(name, ("default",), 4, MEMORY, min(settings.claim_wait, settings.poll_interval))


async def _hear_stops(broker: Broker, name: str) -> None:
    async for _ in broker.stops(name):
        pass


if __name__ == "__main__":
    asyncio.run(_crowd(sys.argv[1], int(sys.argv[2])))
