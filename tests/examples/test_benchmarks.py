"""The benchmarks' own arithmetic, and that their scripts do what is timed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import fixture, report


def test_the_same_work_every_time(tmp_path: Path) -> None:
    assert fixture.page() == fixture.page()
    scripts = fixture.write(tmp_path / "scripts")
    outputs = {name: subprocess.run([sys.executable, str(scripts / path)], capture_output=True, check=True).stdout
               for name, path in fixture.SCRIPTS.items()}  # fmt: skip
    assert json.loads(outputs["noop"]) == {}
    assert json.loads(outputs["scrape"])["count"] == fixture.ITEMS


@pytest.mark.parametrize(
    ("what", "ours", "theirs", "ratio"),
    [
        ("noop, jobs/s", 20, 10, 2),
        ("one call, p50 ms", 20, 10, 0.5),
        ("noop, CPU ms per job", 10, 20, 2),
        ("x", 0, 1, None),
    ],
)
def test_above_one_is_better(what: str, ours: float, theirs: float, ratio: float | None) -> None:
    assert report.ratio(what, {"pumasi": ours, "rq": theirs}, "rq") == ratio


def test_table_and_file(tmp_path: Path) -> None:
    values = {"noop, jobs/s": {"pumasi": 40.0, "rq": 10.0}, "submits/s, one by one": {"pumasi": 1234.0}}
    result = report.Result(plan="quick", slots=4, skipped=None, values=values)
    console = Console(width=120, record=True, quiet=True)
    report.show(console, result)
    kept = json.loads(report.keep(result, tmp_path).read_text())
    assert kept["ratios"]["pumasi vs rq"] == {"noop, jobs/s": 4.0}
    assert kept["machine"]["cores"]
