"""The table for people, and the file for comparisons."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from benchmarks.notes import Values

#: of the scripts benchmark: what each system is called over its column
COLUMNS = {"pumasi": "Pumasi\n(SQLite)", "pumasi up": "pumasi up\n(HTTP)", "pumasi memory": "Pumasi\n(memory)",
           "rq": "RQ", "celery": "Celery", "bare": "bare\nsubprocess"}  # fmt: skip
#: where less is better, the ratio is turned round: above 1 is always in Pumasi's favour
LESS_IS_BETTER = ("ms", "CPU", "memory", "MB")


class Result(Struct, kw_only=True):
    """One run of one benchmark."""

    plan: str
    values: Values
    what: str = "scripts"
    slots: int | None = None
    skipped: str | None = None
    columns: dict[str, str] = msgspec.field(default_factory=lambda: dict(COLUMNS))
    #: systems that Pumasi is held against
    compared: tuple[str, ...] = ("rq", "celery")
    #: of the machine in the minute before it began
    load: float = msgspec.field(default_factory=lambda: os.getloadavg()[0])


def show(console: Console, result: Result) -> None:
    """A row a figure, a column a system, and how Pumasi compares."""
    columns = [name for name in result.columns if any(name in row for row in result.values.values())]
    compared = [name for name in result.compared if name in columns]
    slots = "" if result.slots is None else f", {result.slots} slots"
    title = f"{result.what}: {result.plan} run{slots}, medians, load {result.load:.1f} when it began"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    headings = [result.columns[name] for name in columns]
    for heading in (*headings, *(f"Pumasi\nvs {result.columns[name]}" for name in compared)):
        table.add_column(heading, justify="right")
    for what, row in sorted(result.values.items(), key=lambda item: _order(item[0])):
        cells = [_number(row[name]) if name in row else "" for name in columns]
        table.add_row(what, *cells, *(_times(ratio(what, row, name)) for name in compared))
    console.print(table)
    if result.skipped:
        console.print(f"left out: {result.skipped}")


def keep(result: Result, folder: Path) -> Path:
    """Write the run, with what it ran on; gives the file."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    ratios = {
        f"pumasi vs {name}": {
            what: ratio(what, row, name) for what, row in result.values.items() if ratio(what, row, name)
        }
        for name in (*result.compared, "bare")
    }
    told = {"what": result.what, "plan": result.plan, "slots": result.slots, "skipped": result.skipped}
    content = {
        "time": now.isoformat(),
        "machine": machine() | {"load_before": result.load},
        **told,
        "values": result.values,
        "ratios": {name: row for name, row in ratios.items() if row},
    }
    path = folder / f"{now:%Y%m%dT%H%M%SZ}-{result.what}.json"
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def ratio(what: str, row: dict[str, float], other: str) -> float | None:
    """How many times better Pumasi is than `other`; below 1 it is worse."""
    if not row.get("pumasi") or not row.get(other):
        return None
    less = any(word in what for word in LESS_IS_BETTER)
    return row[other] / row["pumasi"] if less else row["pumasi"] / row[other]


def machine() -> dict[str, Any]:
    """What the run was made on."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "pumasi": version("pumasi"),
    }


def _order(what: str) -> int:
    words = (
        "submits", "noop, jobs", "no-op, jobs", "scrape, jobs", "one call", "pick-up", "noop, CPU", "no-op: CPU",
        "scrape, CPU", "cage", "idle",
    )  # fmt: skip
    return next((place for place, word in enumerate(words) if what.startswith(word)), len(words))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}×"
