"""The example scripts: ordinary programs, and scripts Pumasi can run as they are."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from examples.shop import CATEGORIES, Shop, products
from pumasi.intake.parameters import wrong_parameters
from pumasi.scripts.base import Reference
from pumasi.scripts.how import how_to_run
from pumasi.scripts.local import LocalRepository
from tests.harness import System

FOLDER = Path(__file__).parents[2] / "examples" / "scripts"


@pytest.fixture
def shop() -> Iterator[Shop]:
    with Shop(slow_seconds=0.0) as shop:
        yield shop


def run(
    path: str, *args: str, cwd: Path | None = None, without_pumasi: bool = False
) -> "subprocess.CompletedProcess[str]":
    isolated = ["-S", "-E"] if without_pumasi else []
    return subprocess.run(
        [sys.executable, *isolated, str(FOLDER / path), *args], capture_output=True, text=True, cwd=cwd, timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def visit(url: str) -> None:
    try:
        urlopen(url, timeout=30).close()
    except HTTPError as error:
        error.close()


def parameters(**values: Any) -> list[str]:
    return ["--parameters", json.dumps(values)]


@pytest.mark.parametrize("without_pumasi", [True, False])
def test_catalogue(shop: Shop, without_pumasi: bool) -> None:
    done = run("catalogue.py", *parameters(base_url=shop.url, category="tea"), without_pumasi=without_pumasi)
    found = json.loads(done.stdout)
    expected = [good for good in products() if good.category == "tea"]
    assert (found["category"], found["products"]) == ("tea", CATEGORIES["tea"])
    assert found["available"] == sum(good.stock > 0 for good in expected)
    assert [(item["name"], item["price"], item["rating"]) for item in found["items"]] == [
        (good.name, good.price, good.rating) for good in expected
    ]
    assert done.stderr.count("\n") == (0 if without_pumasi else CATEGORIES["tea"])


def test_catalogue_of_nothing(shop: Shop) -> None:
    done = run("catalogue.py", *parameters(base_url=shop.url, category="cars"))
    assert done.returncode == 1
    assert "404" in done.stderr


def test_link_check(shop: Shop) -> None:
    done = run("link_check.py", shop.url, "--depth", "1")
    assert done.returncode == 1
    assert "8 links, 1 broken" in done.stdout
    assert "/imprint" in done.stderr
    assert run("link_check.py", shop.url, "--max-broken", "1").returncode == 0


def test_price_report(shop: Shop, tmp_path: Path) -> None:
    done = run("price_report/main.py", *parameters(base_url=shop.url, categories=["knives"]), cwd=tmp_path)
    prices = [good.price for good in products() if good.category == "knives"]
    assert json.loads(done.stdout)["knives"]["lowest"] == min(prices)
    assert f"<td>{min(prices)}</td>" in (tmp_path / "report.html").read_text()


async def test_pumasi_can_run_them_all() -> None:
    repository = LocalRepository(FOLDER)
    assert {info.name: info.error for info in await repository.list()} == dict.fromkeys(
        ("catalogue", "link_check", "listing", "price_report")
    )
    modes = {}
    for name, args in (("catalogue", False), ("link_check", True), ("listing", False), ("price_report", False)):
        script = await repository.resolve(Reference(name))
        modes[name] = how_to_run(script.files[script.entry_point].decode(), script.manifest.result, args)
    assert modes == {"catalogue": "json", "link_check": "none", "listing": "return", "price_report": "json"}


async def test_their_schemas() -> None:
    repository = LocalRepository(FOLDER)
    schema = (await repository.resolve(Reference("catalogue"))).manifest.parameters
    assert schema is not None
    assert wrong_parameters(schema, {"base_url": "http://127.0.0.1:1", "category": "tea"}) == []
    assert len(wrong_parameters(schema, {"base_url": "ftp://x", "limit": 0, "colour": 1})) == 4
    report = await repository.resolve(Reference("price_report"))
    assert sorted(report.files) == [
        ".pumasi/entry_point", "figures.py", "main.py", "pumasi.toml", "shop_reader.py", "template.html",
    ]  # fmt: skip
    assert report.version == "1.0"


async def test_as_jobs(shop: Shop, working: System) -> None:
    shutil.copytree(FOLDER, working.scripts, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for category in CATEGORIES:  # the shop stumbles now, not later
        await asyncio.to_thread(visit, f"{shop.url}/category/{category}?page=2")
    listing = await working.run("listing", {"base_url": shop.url, "category": "tea", "page": 2})
    assert len(json.loads(listing.result or "")) == 20
    links = await working.run("link_check", args=[shop.url, "--max-broken", "1"])
    assert (links.state, links.result) == ("completed", None)
    assert "8 links, 1 broken" in await working.log(links)
    report = await working.run("price_report", {"base_url": shop.url})
    assert (report.state, report.artifacts) == ("completed", ("report.html",))
    page = await working.broker.get_blob(f"artifact/{report.id}/{report.attempt}/report.html")
    assert b"<h1>Prices</h1>" in (page or b"")
    broken = await working.run("listing", {"base_url": shop.url})
    assert (broken.state, broken.cause) == ("failed", "invalid")
