"""Run the benchmarks, show them, and keep them."""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import fixture, report
from benchmarks.measure import FULL, QUICK, Plan, measure
from benchmarks.ours import Pumasi, Up
from benchmarks.systems import Bare, System, up
from benchmarks.theirs import Celery, Redis, Rq, environment

# A file has room for the whole table.
console = Console(width=None if sys.stdout.isatty() else 150)


def main() -> None:
    """Everything, in this order: systems up, measured in rounds, down; table; file."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="How fast Pumasi is, beside RQ and Celery."
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test: few jobs, one round")
    parser.add_argument("--only-ours", action="store_true", help="leave RQ and Celery out")
    parser.add_argument("--slots", type=int, default=4, help="jobs that each system runs at one time")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    options = parser.parse_args()
    # Ended by either signal, every program that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    plan = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="pumasi-bench-") as folder:
        result = asyncio.run(_run(plan, Path(folder), options.slots, ours_only=options.only_ours))
    report.show(console, result)
    console.print(f"written to {report.keep(result, options.out)}")


async def _run(plan: Plan, folder: Path, slots: int, *, ours_only: bool) -> report.Result:
    scripts = fixture.write(folder / "scripts")
    skipped = "left out, as asked" if ours_only else _missing()
    if skipped:
        console.print(f"RQ and Celery: {skipped}")
    async with contextlib.AsyncExitStack() as stack:
        systems: list[System] = [Pumasi(folder / "pumasi", scripts, slots)]
        if not skipped:
            redis = await stack.enter_async_context(up(Redis(folder / "redis")))
            systems += [Rq(folder / "rq", scripts, slots, redis), Celery(folder / "celery", scripts, slots, redis)]
        systems.append(Bare(scripts, slots))
        for system in systems:
            await stack.enter_async_context(up(system))
        service = await stack.enter_async_context(up(Up(folder / "up", scripts, slots)))
        values = await measure(plan, systems, service, scripts, slots, console)
    return report.Result(plan=plan.name, slots=slots, skipped=skipped, values=values)


def _missing() -> str | None:
    """Why RQ and Celery cannot be measured here, or None."""
    if shutil.which("redis-server") is None:
        return "skipped: redis-server is not installed (apt-get install redis-server)"
    console.print("the environment of RQ and Celery …")
    problem = environment()
    return f"skipped: their environment could not be made: {problem}" if problem else None


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        sys.exit(130)
