"""`pumasi dead`, on the embedded broker."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pumasi.broker import connect
from pumasi.core.job import Cause
from pumasi.core.outcome import Failed

Pumasi = Callable[..., tuple[int, str, str]]


@pytest.fixture
def letters(pumasi: Pumasi, folder: Path) -> list[str]:
    """Two jobs that have failed, oldest first."""
    (folder / "scripts" / "shop.py").write_text("def main(**values):\n    return values\n")
    ids = [pumasi("submit", "shop", "-p", f"n={n}", "-p", "kind=a", "-l", f"n={n}")[1].strip() for n in range(2)]

    async def fail() -> None:
        async with connect(f"sqlite:///{folder}/.pumasi/pumasi.db") as broker:
            for lease in await broker.claim("w", ["default"], 9, 1 << 40, 0):
                await broker.settle(lease, Failed(cause=Cause.EXIT, error="the shop is closed"))

    asyncio.run(fail())
    return ids


def waiting(pumasi: Pumasi) -> list[dict[str, object]]:
    return [job["parameters"] for job in json.loads(pumasi("jobs", "--state", "pending", "--json")[1])["jobs"]]


def dead(pumasi: Pumasi) -> list[str]:
    return [job["id"] for job in json.loads(pumasi("dead", "list", "--json")[1])["jobs"]]


def test_they_are_listed_with_why(pumasi: Pumasi, letters: list[str]) -> None:
    for words in (["dead"], ["dead", "list"]):
        code, out, _ = pumasi(*words)
        assert code == 0
        assert "exit: the shop is closed" in out
        assert "2 dead letters" in out
    assert dead(pumasi) == letters[::-1]
    assert "dead letters 2" in " ".join(pumasi("stats")[1].split())
    code, out, _ = pumasi("dead", "show", letters[0])
    assert code == 0
    assert "the shop is closed" in out


def test_some_are_requeued_with_a_parameter_changed(pumasi: Pumasi, letters: list[str]) -> None:
    code, out, err = pumasi("dead", "requeue", letters[0], "-p", "kind=b")
    assert (code, err) == (0, "")
    assert len(out.strip()) == 36
    assert waiting(pumasi) == [{"n": 0, "kind": "b"}]
    assert dead(pumasi) == [letters[1]]


def test_all_that_a_filter_means(pumasi: Pumasi, letters: list[str]) -> None:
    code, _, err = pumasi("dead", "requeue", "--all", "-l", "n=1", "--params", '{"x": 1}')
    assert code == 2
    assert "--yes" in err  # nobody is there to be asked
    code, _, _ = pumasi("dead", "requeue", "--all", "-l", "n=1", "--params", '{"x": 1}', "--yes")
    assert code == 0
    assert waiting(pumasi) == [{"x": 1}]
    assert dead(pumasi) == [letters[0]]


def test_discarded(pumasi: Pumasi, letters: list[str]) -> None:
    assert pumasi("dead", "discard", "--all", "--yes")[0] == 0
    assert dead(pumasi) == []
    code, _, err = pumasi("dead", "discard", "--all", "--yes")
    assert (code, "no dead letters" in err) == (0, True)
    for verb in ("requeue", "discard"):
        assert pumasi("dead", verb, "--all", "--json")[1] == "[]\n"
    assert pumasi("dead", "requeue", letters[0])[0] == 1


@pytest.mark.parametrize("words", [["requeue"], ["discard"], ["requeue", "x", "--all"], ["discard", "x", "-q", "y"]])
def test_what_is_meant_must_be_said(pumasi: Pumasi, words: list[str]) -> None:
    code, _, err = pumasi("dead", *words)
    assert code == 2
    assert "--all" in err


def test_a_queue_is_ordered_otherwise(pumasi: Pumasi) -> None:
    code, out, _ = pumasi("queues", "order", "shops", "--ageing", "1m", "--fair")
    assert code == 0
    assert "ageing 1m, fair" in out
    _, out, _ = pumasi("queues", "order", "shops", "--ageing", "off", "--no-fair", "--json")
    assert (json.loads(out)[0]["ageing"], json.loads(out)[0]["fair"]) == (None, False)
    assert pumasi("queues", "order", "shops")[0] == 2
