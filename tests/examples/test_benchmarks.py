"""The benchmarks' own arithmetic, and that their scripts do what is timed."""

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import fixture, report
from benchmarks.counting import Counter
from benchmarks.notes import Notes


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


def test_columns_of_another_benchmark(tmp_path: Path) -> None:
    values = {"submits/s": {"redis": 20_000.0, "sqlite": 15_000.0}}
    result = report.Result(what="submits", plan="quick", columns={"redis": "Redis"}, compared=(), values=values)
    console = Console(width=120, file=io.StringIO(), record=True)
    report.show(console, result)
    shown = console.export_text()
    assert "20,000" in shown and "15,000" not in shown
    path = report.keep(result, tmp_path)
    assert path.stem.endswith("-submits")
    assert json.loads(path.read_text())["ratios"] == {}


async def test_what_is_sent_together_is_one_round_trip() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Counter(server.sockets[0].getsockname()[1]) as counter:
        reader, writer = await asyncio.open_connection("127.0.0.1", counter.port)
        for question in (b"one", b"two and three"):
            writer.write(question)
            assert await reader.readexactly(len(question)) == question
        writer.close()
        await writer.wait_closed()
    assert counter.asked == 2


def test_the_middle_of_several_rounds() -> None:
    notes = Notes()
    for value in (1.0, 9.0, 2.0):
        notes.add("jobs/s", "redis", value)
    notes.add_times("one call", "redis", [0.001, 0.002, 0.003])
    assert notes.medians()["jobs/s"] == {"redis": 2.0}
    assert notes.medians()["one call, p50 ms"]["redis"] == pytest.approx(2.0)
