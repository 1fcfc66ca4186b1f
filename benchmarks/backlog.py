"""Whether a claim costs the same however many jobs wait: two places on one server, one all but empty, one full.

Both are asked in turn, the first one first in every other round; what was taken is put back between rounds.
"""

import asyncio
import time
from statistics import median

from rich.console import Console
from rich.progress import Progress

from benchmarks.backends import Backend
from benchmarks.notes import Notes, Values
from pumasi.broker import Broker, connect
from pumasi.core.ids import new_id
from pumasi.core.job import Job, Lease
from pumasi.core.outcome import Completed

FEW = 1000
#: jobs of one submit
BATCH = 1000
#: what a worker with so many slots asks for
SLOTS = 16
MEMORY = 1 << 50


async def measure(backends: list[Backend], jobs: int, rounds: int, taken: int, console: Console) -> Values:
    """Jobs claimed and settled in a second with `jobs` and with a thousand waiting, and the ratio."""
    notes = Notes()
    for backend in backends:
        async with connect(backend.url()) as short, connect(backend.url()) as long:
            began = time.perf_counter()
            await _fill(short, FEW + taken, console, backend.name)
            await _fill(long, jobs + taken, console, backend.name)
            notes.add("submits/s while it is filled", backend.name, jobs / (time.perf_counter() - began))
            await _compare(backend.name, {FEW: short, jobs: long}, rounds, taken, notes)
    return notes.medians()


async def _compare(name: str, places: dict[int, Broker], rounds: int, taken: int, notes: Notes) -> None:
    for place in places.values():  # what is first asked for is first looked up
        await _work(place, SLOTS * 4)
    ratios = []
    for number in range(rounds):
        rates = {}
        for waiting, place in sorted(places.items(), reverse=number % 2 == 1):
            seconds = await _work(place, taken)
            rates[waiting] = taken / seconds
            notes.add(f"jobs/s with {waiting:,} waiting", name, rates[waiting])
        for place in places.values():
            await place.submit(_jobs(taken))
        few, many = sorted(rates)
        ratios.append(rates[many] / rates[few])
    notes.add("ratio", name, median(ratios))


async def _work(broker: Broker, count: int) -> float:
    """Seconds in which so many jobs were claimed, and settled as a worker does it: each by itself, side by side."""
    began = time.perf_counter()
    done = 0
    while done < count:
        leases = await broker.claim("bench", ["default"], min(SLOTS, count - done), MEMORY, 5.0)
        if not leases:
            raise RuntimeError("nothing was there to claim")
        await asyncio.gather(*(_settle(broker, lease) for lease in leases))
        done += len(leases)
    return time.perf_counter() - began


async def _settle(broker: Broker, lease: Lease) -> None:
    await broker.settle(lease, Completed(result="{}", result_size=2))


async def _fill(broker: Broker, count: int, console: Console, name: str) -> None:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"{name}: {count:,} jobs", total=count)
        for start in range(0, count, BATCH):
            await broker.submit(_jobs(min(BATCH, count - start)))
            progress.advance(task, BATCH)


def _jobs(count: int) -> list[Job]:
    return [Job(id=new_id(), script="noop", digest="0" * 64) for _ in range(count)]
