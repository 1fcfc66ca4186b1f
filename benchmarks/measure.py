"""What is measured, and how often."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from rich.console import Console
from rich.progress import Progress

from benchmarks import cage
from benchmarks.notes import Notes, Values
from benchmarks.ours import Pumasi, Up, submits
from benchmarks.systems import System


class Plan(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    name: str
    rounds: int
    noops: int
    scrapes: int
    calls: int
    submits: int
    idle_seconds: float
    #: jobs that sleep at one time
    crowd: int


FULL = Plan(name="full", rounds=3, noops=200, scrapes=30, calls=100, submits=1000, idle_seconds=10.0, crowd=200)
QUICK = Plan(name="quick", rounds=1, noops=24, scrapes=6, calls=10, submits=100, idle_seconds=1.0, crowd=8)


async def measure(
    plan: Plan, systems: Sequence[System], service: Up, scripts: Path, slots: int, console: Console
) -> Values:
    """Figure by figure; of several rounds the median."""
    notes = Notes()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("idle", total=plan.rounds * len(systems) * 3 + 4)

        def step(what: str) -> None:
            progress.update(task, advance=1, description=what)

        await _idle(plan, systems, service, notes)
        for _ in range(plan.rounds):
            for system in systems:
                for script, count in (("noop", plan.noops), ("scrape", plan.scrapes)):
                    step(f"{system.name}: {script}")
                    await _throughput(system, script, count, notes)
                step(f"{system.name}: one call")
                await _calls(system, plan.calls, notes)
        step("pumasi up: one call")
        await _http(service, plan, notes)
        step("submits")
        await _submits(plan, systems, scripts, notes)
        step("the cage")
        await _cage(plan, scripts, slots, notes)
    return notes.medians()


async def _idle(plan: Plan, systems: Sequence[System], service: Up, notes: Notes) -> None:
    """CPU and memory of those that have nothing to do; all are watched over the same seconds."""
    idle: dict[str, System | Up] = {"pumasi up": service}
    idle |= {system.name: system for system in systems if system.pids()}
    before = {name: system.cpu() for name, system in idle.items()}
    began = time.perf_counter()
    await asyncio.sleep(plan.idle_seconds)
    seconds = time.perf_counter() - began
    for name, system in idle.items():
        notes.add("idle CPU, % of a core", name, 100 * (system.cpu() - before[name]) / seconds)
        notes.add("idle memory (PSS), MB", name, system.memory() / 2**20)


async def _throughput(system: System, script: str, count: int, notes: Notes) -> None:
    before = system.cpu()
    seconds = await system.run(script, count)
    notes.add(f"{script}, jobs/s", system.name, count / seconds)
    notes.add(f"{script}, CPU ms per job", system.name, 1000 * (system.cpu() - before) / count)


async def _calls(system: System, count: int, notes: Notes) -> None:
    notes.add_times("one call", system.name, [await system.call("noop") for _ in range(count)])
    if isinstance(system, Pumasi):
        notes.add_times("pick-up by an idle worker", system.name, [await system.pickup() for _ in range(count)])


async def _http(service: Up, plan: Plan, notes: Notes) -> None:
    notes.add_times("one call", "pumasi up", [await service.call("noop") for _ in range(plan.calls)])
    notes.add("submits/s, one by one", "pumasi up", plan.submits / await service.submit(plan.submits))


async def _cage(plan: Plan, scripts: Path, slots: int, notes: Notes) -> None:
    """What stands in rows of its own: no other system has a cage."""
    with tempfile.TemporaryDirectory(prefix="pumasi-cage-") as name:
        folders = (Path(name, str(number)) for number in itertools.count())
        for _ in range(plan.rounds):
            rate = await cage.throughput(next(folders), scripts, slots, 5 * plan.noops)
            notes.add("noop, jobs/s", "pumasi memory", rate)
            inside, whole, bare = await cage.cpu(next(folders), scripts, 2 * plan.noops)
            notes.add("cage: CPU ms of a no-op job", "pumasi memory", 1000 * inside)
            notes.add("cage: with the worker's own", "pumasi memory", 1000 * whole)
            notes.add("cage: CPU ms of a no-op job", "bare", 1000 * bare)
        notes.add_times(
            "cage: lease to first line", "pumasi memory", await cage.births(next(folders), scripts, plan.calls)
        )
        held, beat = await cage.crowd(next(folders), scripts, plan.crowd)
        notes.add(f"cage: PSS of {plan.crowd} sleeping jobs, MB each", "pumasi memory", held / 2**20)
        notes.add("cage: seconds between heartbeats meanwhile", "pumasi memory", beat)


async def _submits(plan: Plan, systems: Sequence[System], scripts: Path, notes: Notes) -> None:
    for batch, what in ((False, "submits/s, one by one"), (True, "submits/s, in batches")):
        notes.add(what, "pumasi memory", plan.submits / await submits("memory://", scripts, plan.submits, batch=batch))
        for system in systems:
            seconds = await system.submit(plan.submits, batch=batch)
            if seconds is not None:
                notes.add(what, system.name, plan.submits / seconds)
