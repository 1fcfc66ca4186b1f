"""The table for people, and the file for comparisons."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Values

COLUMNS = ("pumasi", "pumasi up", "pumasi memory", "rq", "celery", "bare")
HEADINGS = {"pumasi": "Pumasi\n(SQLite)", "pumasi up": "pumasi up\n(HTTP)", "pumasi memory": "Pumasi\n(memory)",
            "rq": "RQ", "celery": "Celery", "bare": "bare\nsubprocess"}  # fmt: skip
#: where less is better, the ratio is turned round: above 1 is always in Pumasi's favour
LESS_IS_BETTER = ("ms", "CPU", "memory", "MB")


class Result(Struct, kw_only=True):
    """One run."""

    plan: str
    slots: int
    skipped: str | None
    values: Values


def show(console: Console, result: Result) -> None:
    """A row a figure, a column a system, and how Pumasi compares."""
    columns = [name for name in COLUMNS if any(name in row for row in result.values.values())]
    compared = [name for name in ("rq", "celery") if name in columns]
    table = Table(title=f"{result.plan} run, {result.slots} slots, medians", title_justify="left")
    table.add_column("")
    for name in (*(HEADINGS[name] for name in columns), *(f"Pumasi\nvs {HEADINGS[name]}" for name in compared)):
        table.add_column(name, justify="right")
    for what, row in sorted(result.values.items(), key=lambda item: _order(item[0])):
        cells = [_number(row[name]) if name in row else "" for name in columns]
        table.add_row(what, *cells, *(_times(ratio(what, row, name)) for name in compared))
    console.print(table)
    if result.skipped:
        console.print(f"RQ and Celery: {result.skipped}")


def keep(result: Result, folder: Path) -> Path:
    """Write the run, with what it ran on; gives the file."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    compared = {
        f"pumasi vs {name}": {
            what: ratio(what, row, name) for what, row in result.values.items() if ratio(what, row, name)
        }
        for name in ("rq", "celery", "bare")
    }
    content = {"time": now.isoformat(), "machine": machine(), **to_builtins(result), "ratios": compared}
    path = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
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
        "load_before": os.getloadavg()[0],
        "pumasi": version("pumasi"),
    }


def _order(what: str) -> int:
    words = ("submits", "noop, jobs", "scrape, jobs", "one call", "pick-up", "noop, CPU", "scrape, CPU", "cage", "idle")
    return next((place for place, word in enumerate(words) if what.startswith(word)), len(words))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}×"
