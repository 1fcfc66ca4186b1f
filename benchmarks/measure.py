"""What is measured, and how often."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from msgspec import Struct
from rich.console import Console
from rich.progress import Progress

from benchmarks.ours import Pumasi, Up, submits
from benchmarks.systems import System

Values = dict[str, dict[str, float]]


class Plan(Struct, frozen=True, kw_only=True):
    """How much of everything."""

    name: str
    rounds: int
    noops: int
    scrapes: int
    calls: int
    submits: int
    idle_seconds: float


FULL = Plan(name="full", rounds=3, noops=300, scrapes=60, calls=150, submits=1000, idle_seconds=10.0)
QUICK = Plan(name="quick", rounds=1, noops=24, scrapes=6, calls=10, submits=100, idle_seconds=1.0)


async def measure(
    plan: Plan, systems: Sequence[System], service: Up, scripts: Path, folder: Path, console: Console
) -> Values:
    """Figure by figure, `{what: {system: value}}`; of several rounds the median."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    steps = plan.rounds * 3 * len(systems) + len(systems) + 3
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=steps)

        def note(what: str, system: str, value: float) -> None:
            found[what][system].append(value)

        def step(what: str) -> None:
            progress.update(task, advance=1, description=what)

        await _idle(plan, systems, service, note, step)
        for _ in range(plan.rounds):
            for system in systems:
                for script, count in (("noop", plan.noops), ("scrape", plan.scrapes)):
                    step(f"{system.name}: {script}")
                    await _throughput(system, script, count, note)
                step(f"{system.name}: calls")
                await _calls(system, plan.calls, note)
        step("pumasi over HTTP")
        await _http(service, plan, note)
        step("submits")
        await _submits(plan, systems, scripts, folder, note)
    return {what: {system: median(values) for system, values in row.items()} for what, row in found.items()}


async def _idle(plan: Plan, systems: Sequence[System], service: Up, note, step) -> None:  # type: ignore[no-untyped-def]
    """CPU and memory of those that have nothing to do; all are asked over the same seconds."""
    from benchmarks.processes import cpu_seconds, pss_bytes

    step("idle")
    before = {system.name: system.cpu() for system in systems}
    up_before, began = cpu_seconds(service.pids()), time.perf_counter()
    await asyncio.sleep(plan.idle_seconds)
    seconds = time.perf_counter() - began
    note("idle CPU, % of a core", "pumasi up", 100 * (cpu_seconds(service.pids()) - up_before) / seconds)
    note("idle memory (PSS), MB", "pumasi up", pss_bytes(service.pids()) / 2**20)
    for system in systems:
        step(f"{system.name}: idle")
        if system.worker_pids():
            note("idle CPU, % of a core", system.name, 100 * (system.cpu() - before[system.name]) / seconds)
            note("idle memory (PSS), MB", system.name, system.memory() / 2**20)


async def _throughput(system: System, script: str, count: int, note) -> None:  # type: ignore[no-untyped-def]
    before = system.cpu()
    seconds = await system.run(script, count)
    note(f"{script}, jobs/s", system.name, count / seconds)
    note(f"{script}, CPU ms per job", system.name, 1000 * (system.cpu() - before) / count)


async def _calls(system: System, count: int, note) -> None:  # type: ignore[no-untyped-def]
    times = [await system.call("noop") for _ in range(count)]
    note("one call, p50 ms", system.name, 1000 * median(times))
    note("one call, p99 ms", system.name, 1000 * _p99(times))
    if isinstance(system, Pumasi):
        pickups = [await system.pickup() for _ in range(count)]
        note("pick-up by an idle worker, p50 ms", system.name, 1000 * median(pickups))
        note("pick-up by an idle worker, p99 ms", system.name, 1000 * _p99(pickups))


async def _http(service: Up, plan: Plan, note) -> None:  # type: ignore[no-untyped-def]
    times = [await service.call("noop") for _ in range(plan.calls)]
    note("one call, p50 ms", "pumasi up", 1000 * median(times))
    note("one call, p99 ms", "pumasi up", 1000 * _p99(times))
    note("submits/s, one by one", "pumasi up", plan.submits / await service.submit(plan.submits))


async def _submits(plan: Plan, systems: Sequence[System], scripts: Path, folder: Path, note) -> None:  # type: ignore[no-untyped-def]
    for batch, what in ((False, "submits/s, one by one"), (True, "submits/s, in batches")):
        note(what, "pumasi memory", plan.submits / await submits("memory://", scripts, plan.submits, batch=batch))
        for system in systems:
            seconds = await system.submit(plan.submits, batch=batch)
            if seconds is not None:
                note(what, system.name, plan.submits / seconds)


def _p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[98]
