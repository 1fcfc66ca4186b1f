"""Run the benchmarks, show them, and keep them."""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import backends, backlog, fixture, idle, peers, report, submits, trips
from benchmarks.measure import FULL, QUICK, measure
from benchmarks.notes import Values
from benchmarks.ours import Pumasi, Up
from benchmarks.systems import Bare, System, up
from benchmarks.theirs import Celery, Redis, Rq, environment

#: what there is to run, in the order in which all of it is run
WHAT = ("scripts", "peers", "submits", "trips", "idle", "backlog")
#: a backlog is measured on these unless others are named; on disk it is the disk that is measured
STEADY = ("redis", "postgresql", "sqlite")

# A file has room for the whole table.
console = Console(width=None if sys.stdout.isatty() else 150)


def main() -> None:
    """Everything that is asked for, in this order: systems up, measured in rounds, down; table; file."""
    options = _options()
    # Ended by either signal, every program that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    for what in WHAT if "all" in options.what else dict.fromkeys(options.what):
        with tempfile.TemporaryDirectory(prefix="pumasi-bench-") as folder:
            # a server that does not run as root reads its own part of it
            Path(folder).chmod(0o711)
            result = asyncio.run(RUNS[what](Path(folder), options))
        if result is not None:
            report.show(console, result)
            console.print(f"written to {report.keep(result, options.out)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast Pumasi is, and its brokers, beside others."
    )
    add = parser.add_argument
    add("what", nargs="*", default=["scripts"], choices=[*WHAT, "all"], help="which of them; left out: scripts")
    add("--quick", action="store_true", help="a smoke test: few jobs, one round")
    add("--only-ours", action="store_true", help="leave other systems out")
    add("--slots", type=int, default=4, help="jobs that each system runs at one time")
    add("--jobs", type=int, help="backlog: how many jobs wait, 1,000,000 when left out; submits: how many there are")
    add("--backends", default="", help=f"names with commas between them, of {', '.join(backends.KINDS)}")
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    return parser.parse_args()


# -- scripts, and jobs that do nothing, beside others ---------------------------------------------------------------


async def _scripts(folder: Path, options: argparse.Namespace) -> report.Result:
    plan = QUICK if options.quick else FULL
    scripts = fixture.write(folder / "scripts")
    skipped = "other systems, as asked" if options.only_ours else _missing()
    result = report.Result(plan=plan.name, slots=options.slots, skipped=skipped, values={})
    async with contextlib.AsyncExitStack() as stack:
        systems: list[System] = [Pumasi(folder / "pumasi", scripts, options.slots)]
        if not skipped:
            redis = await stack.enter_async_context(up(Redis(folder / "redis")))
            systems += [
                Rq(folder / "rq", scripts, options.slots, redis),
                Celery(folder / "celery", scripts, options.slots, redis),
            ]
        systems.append(Bare(scripts, options.slots))
        for system in systems:
            await stack.enter_async_context(up(system))
        service = await stack.enter_async_context(up(Up(folder / "up", scripts, options.slots)))
        result.values = await measure(plan, systems, service, scripts, options.slots, console)
    return result


async def _peers(folder: Path, options: argparse.Namespace) -> report.Result | None:
    plan = peers.QUICK if options.quick else peers.FULL
    if why := peers.missing():
        console.print(f"peers: {why}")
        return None
    skipped = "other systems, as asked" if options.only_ours else _missing()
    result = report.Result(what="peers", plan=plan.name, slots=options.slots, skipped=skipped, columns=peers.COLUMNS,
                           compared=peers.COMPARED, values={})  # fmt: skip
    scripts = fixture.write(folder / "scripts")
    result.values = await peers.measure(plan, folder, scripts, options.slots, console, ours_only=skipped is not None)
    return result


def _missing() -> str | None:
    """Why other systems cannot be measured here, or None."""
    if shutil.which("redis-server") is None:
        return "other systems: redis-server is not installed (apt-get install redis-server)"
    console.print("the environment of the other systems …")
    problem = environment()
    return f"other systems: their environment could not be made: {problem}" if problem else None


# -- brokers, by backend ----------------------------------------------------------------------------------------------


async def _submits(folder: Path, options: argparse.Namespace) -> report.Result:
    scripts = fixture.write(folder / "scripts")
    jobs = options.jobs or (1000 if options.quick else 20_000)
    rounds = 1 if options.quick else 3
    names = [name for name in backends.KINDS if name != "mongodb"]
    return await _on_backends(
        "submits", folder, options, names, lambda found: submits.measure(found, scripts, jobs, rounds)
    )


async def _backlog(folder: Path, options: argparse.Namespace) -> report.Result:
    jobs = options.jobs or (5000 if options.quick else 1_000_000)
    rounds, taken = (2, 200) if options.quick else (8, 2000)
    return await _on_backends(
        "backlog", folder, options, STEADY, lambda found: backlog.measure(found, jobs, rounds, taken, console)
    )


async def _trips(folder: Path, options: argparse.Namespace) -> report.Result:
    times = 3 if options.quick else 9
    names = ("redis", "postgresql", "mongodb")
    return await _on_backends("trips", folder, options, names, lambda found: trips.measure(found, times))


async def _idle(folder: Path, options: argparse.Namespace) -> report.Result:
    seconds, settled = (5.0, 3.0) if options.quick else (60.0, idle.SETTLED)
    names = ("redis", "postgresql")
    return await _on_backends("idle", folder, options, names, lambda found: idle.measure(found, seconds, settled))


async def _on_backends(
    what: str,
    folder: Path,
    options: argparse.Namespace,
    default: Iterable[str],
    measure: Callable[[list[backends.Backend]], Coroutine[Any, Any, Values]],
) -> report.Result:
    """One benchmark, on all the backends that can be had."""
    named: Sequence[str] = [name.strip() for name in options.backends.split(",") if name.strip()]
    names, missing = backends.chosen(named, list(default))
    result = report.Result(what=what, plan="quick" if options.quick else "full", skipped="; ".join(missing) or None,
                           columns=backends.HEADINGS, compared=(), values={})  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(up(backends.KINDS[name](folder / name.replace(", ", "-"))))
            for name in names
        ]
        result.values = await measure(found)
    return result


RUNS: dict[str, Callable[[Path, argparse.Namespace], Coroutine[Any, Any, report.Result | None]]] = {
    "scripts": _scripts,
    "peers": _peers,
    "submits": _submits,
    "trips": _trips,
    "idle": _idle,
    "backlog": _backlog,
}


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        sys.exit(130)
