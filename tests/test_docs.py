"""The documentation says what is there: commands, options, links, fields, causes, metrics."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker import connect
from pumasi.core.job import Cause, Worker
from pumasi.gateway.metrics import Metrics
from pumasi.scripts.manifest import Manifest, read_manifest
from tests.pages import PAGES, ROOT, blocks, commands, links, sections

REFERENCE = ROOT / "docs" / "reference"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in sections(target.read_text("utf-8")), link


@every_page
def test_commands_exist(page: Path) -> None:
    options = known_commands()
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands(page):
        if words[0] == "pumasi":
            check_command(words[1:], options)
        elif words[0] == "make":
            assert words[1] in targets, words
        elif words[0].startswith(".") and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), words


def known_commands() -> dict[str, set[str]]:
    """The options of each command, by its name; of one below another, by both names."""
    from pumasi.cli.app import entries, load

    found: dict[str, Any] = {name: load(name) for name in entries()}
    for name, command in list(found.items()):
        found |= {f"{name} {inner}": below for inner, below in getattr(command, "commands", {}).items()}
    return {name: {opt for param in command.params for opt in param.opts} for name, command in found.items()}


def check_command(words: list[str], known: dict[str, set[str]]) -> None:
    if words[0] in ("--lang", "--debug"):
        return
    name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
    assert name in known, words
    given = [word.partition("=")[0] for word in words if word.startswith("-") and word != "-"]
    ours = given[: given.index("--")] if "--" in given else given
    assert set(ours) <= known[name] | {"--help"}, words


@every_page
def test_files_exist(page: Path) -> None:
    named = re.findall(r"`((?:tests|src|tools|benchmarks|examples)/[\w./]+|\.[\w./]+example)`", page.read_text("utf-8"))
    for name in named:
        assert (ROOT / name).exists() or name.startswith("benchmarks/results"), name


@every_page
def test_code_is_code(page: Path) -> None:
    for source in blocks(page, "python"):
        compile(source, str(page), "exec")
        read_manifest({"main.py": source.encode()}, "main", entry_point="main.py")
    for text in blocks(page, "toml"):
        tomllib.loads(text)
    for text in blocks(page, "json"):
        json.loads(text)


def test_what_is_read_off_the_code_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/reference.py", "check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_field_of_a_manifest_is_named() -> None:
    assert first_cells("manifest.md") == set(Manifest.model_fields)


def test_every_cause_is_named() -> None:
    assert first_cells("endings.md") == {cause.value for cause in Cause}


def test_every_field_of_a_request_is_named() -> None:
    from pumasi.intake import JobRequest

    text = (REFERENCE / "http.md").read_text("utf-8").partition("## Submitting")[2].partition("## Finding")[0]
    assert cells(text) == set(JobRequest.model_fields)


def test_every_method_of_a_client_is_named() -> None:
    from pumasi import Client

    text = (REFERENCE / "python.md").read_text("utf-8")
    methods = {name for name in vars(Client) if not name.startswith("_")} - {"close", "url"}
    assert {name for cell in re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE) for name in calls(cell)} == methods


def calls(cell: str) -> list[str]:
    return re.findall(r"(?:^|, )`(\w+)\(", cell)


def test_every_exported_name_is_told() -> None:
    import pumasi
    from pumasi import script

    text = (REFERENCE / "python.md").read_text("utf-8") + (REFERENCE / "script.md").read_text("utf-8")
    for name in [*pumasi.__all__, *(f"script.{name}" for name in script.__all__)]:
        assert name in text, name


async def test_every_metric_is_named() -> None:
    async with connect("memory://") as broker:
        await broker.heartbeat(Worker(id="one"), [])
        text = (await Metrics(broker).exposition()).decode()
    shown = {name for name in re.findall(r"^# TYPE (\w+)", text, re.MULTILINE) if not name.endswith("_created")}
    assert first_cells("metrics.md") == shown


def first_cells(page: str) -> set[str]:
    """What stands in the first cells of a page's tables."""
    return cells((REFERENCE / page).read_text("utf-8"))


def cells(text: str) -> set[str]:
    return {
        name for cell in re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }


def test_nothing_of_a_workplace_is_told() -> None:
    for page in PAGES:
        found = re.findall(r"(?<![\w.])/(?:root|work|home/\w+)/\S*|issue #?\d+", page.read_text("utf-8"))
        assert not found, page
