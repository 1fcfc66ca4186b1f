"""The whole path in one go: a shop, a gateway with a worker, and a scraping job for each of the shop's categories.

    make demo

Everything runs on this machine, in a temporary folder, with the commands that anybody would use; it ends by itself, and
leaves nothing behind.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from shop import CATEGORIES, Shop

from pumasi import Client
from pumasi.core.job import Job
from pumasi.units import format_duration

SCRIPTS = Path(__file__).resolve().parent / "scripts"
#: seconds each page of the shop takes: pages from far away do not come at once
LATENCY = 0.03
START_SECONDS, STOP_SECONDS = 60.0, 20.0

# A file has room for the whole table.
console = Console(width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Open the shop, start Pumasi, scrape, show what came of it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="pumasi-demo-") as folder, Shop(latency=LATENCY) as shop:
        console.print(f"a shop with {sum(CATEGORIES.values())} products is open at {shop.url}")
        with running(Path(folder)) as (url, token), Client(url, token=token) as client:
            console.print(f"gateway and worker are up at {url}\n")
            jobs = [submit(client, shop, category) for category in CATEGORIES]
            ended = follow(client, jobs)
            show(ended)
        console.print(f"the shop answered {shop.requests} requests, {shop.failures} of them with an error 500 at first")
    return 0 if all(job.state == "completed" for job in ended) else 1


@contextlib.contextmanager
def running(folder: Path) -> Iterator[tuple[str, str]]:
    """`pumasi up` on a free port with its data in `folder`; yields its URL and token once it answers."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PUMASI_", "PYTHON"))}
    environment |= {
        "PUMASI_BROKER": f"sqlite:///{folder / 'pumasi.db'}",
        "PUMASI_DATA_DIR": str(folder),
        "PUMASI_SCRIPTS": str(SCRIPTS),
        "PUMASI_PORT": "0",
        "PUMASI_LANG": os.environ.get("PUMASI_LANG", "en"),
    }
    log = folder / "up.log"
    with open(log, "wb") as output:
        # A session of its own: Ctrl-C is for the demo, which then stops Pumasi as it should be stopped.
        process = subprocess.Popen(
            [sys.executable, "-m", "pumasi", "up"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield _ready(process, folder / "token.json", log)
    except Exception:
        console.print(f"what pumasi up said:\n{log.read_text(errors='replace')[-4000:]}", markup=False, style="dim")
        raise
    finally:
        _stop(process)


def _ready(process: "subprocess.Popen[bytes]", token_file: Path, log: Path) -> tuple[str, str]:
    """What the gateway leaves once it answers."""
    deadline = time.monotonic() + START_SECONDS
    while not token_file.exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise SystemExit(f"pumasi up ended with {process.returncode}:\n{log.read_text(errors='replace')[-4000:]}")
        if time.monotonic() > deadline:
            raise SystemExit(f"pumasi up does not answer:\n{log.read_text(errors='replace')[-4000:]}")
    told = json.loads(token_file.read_text())
    return told["url"], told["token"]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def submit(client: Client, shop: Shop, category: str) -> Job:
    """A job that scrapes one category."""
    return client.submit("catalogue", {"base_url": shop.url, "category": category}, labels={"category": category})


def follow(client: Client, jobs: list[Job]) -> list[Job]:
    """Show how far the jobs are until all have ended; gives the ended ones, in the order they were submitted."""
    waiting = {job.id for job in jobs}
    with Live(jobs) if console.is_terminal else Plain() as view:
        for event in client.watch(after=0):
            if event.job.id in waiting:
                view.show(event.job)
            if event.job.ended:
                waiting.discard(event.job.id)
            if not waiting:
                break
    return [client.get(job.id) for job in jobs]


class Live:
    """A bar for each job, for a terminal."""

    def __init__(self, jobs: list[Job]) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            job.id: self._progress.add_task(category(job), total=None, start=False, note="waiting for a slot")
            for job in jobs
        }

    def __enter__(self) -> "Live":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: Job) -> None:
        """The job as it is now."""
        task = self._tasks[job.id]
        if job.started_at and not self._progress.tasks[task].started:
            self._progress.start_task(task)
            self._progress.update(task, note="reading the list")
        if job.progress and not job.ended:
            self._progress.update(task, completed=job.progress.done, total=job.progress.total, note=job.progress.note)
        if job.ended:
            total = job.progress.total if job.progress else None
            done = total if job.state == "completed" else None
            self._progress.update(task, completed=done, total=total, note=job.state.value)
            self._progress.stop_task(task)


class Plain:
    """A line at every quarter of a job, for files and pipes."""

    def __init__(self) -> None:
        self._quarters: dict[str, int] = {}

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        print()

    def show(self, job: Job) -> None:
        """The job as it is now."""
        if job.ended:
            print(f"{category(job)}: {job.state.value}")
        elif job.progress and job.progress.total:
            quarter = int(4 * job.progress.done / job.progress.total)
            if quarter > self._quarters.get(job.id, 0):
                self._quarters[job.id] = quarter
                print(f"{category(job)}: {job.progress.done:g}/{job.progress.total:g}", flush=True)


def show(jobs: list[Job]) -> None:
    """What each job found, and how long it waited and ran."""
    table = Table(title="What the jobs found", title_justify="left")
    table.add_column("category")
    for heading in ("products", "available", "average", "cheapest", "waited", "ran"):
        table.add_column(heading, justify="left" if heading == "cheapest" else "right")
    for job in jobs:
        table.add_row(category(job), *_found(job), *_times(job))
    console.print(table)
    for job in jobs:
        if job.error:
            console.print(f"{category(job)} {job.state.value}: {job.error}", markup=False, style="red")


def _found(job: Job) -> tuple[str, str, str, str]:
    if job.state != "completed" or job.result is None:
        return (job.state.value, "", "", "")
    found = json.loads(job.result)
    cheapest = found["cheapest"]
    return (
        str(found["products"]),
        str(found["available"]),
        f"₩{found['average_price']:,}",
        f"{cheapest['name']}, ₩{cheapest['price']:,}",
    )


def _times(job: Job) -> tuple[str, str]:
    if job.started_at is None or job.ended_at is None:
        return ("", "")
    return format_duration(job.started_at - job.created_at), format_duration(job.ended_at - job.started_at)


def category(job: Job) -> str:
    """Which category a job scrapes."""
    return job.labels.get("category", job.id)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped and cleaned up")
        sys.exit(130)
