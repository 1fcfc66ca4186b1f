"""From words on a command line to parameters, limits, times."""

import io
import sys
from pathlib import Path

import pytest

from pumasi.cli import request
from pumasi.errors import Invalid


@pytest.mark.parametrize(
    ("pairs", "text", "values"),
    [
        (None, None, None),
        (["page=3", "name=kim", 'id="3"', "deep={\"a\": [1]}", "on=true", "nan=NaN", "empty="], None,
         {"page": 3, "name": "kim", "id": "3", "deep": {"a": [1]}, "on": True, "nan": "NaN", "empty": ""}),
        (["a=b=c"], None, {"a": "b=c"}),
        (None, "{}", {}),
        (["page=4"], '{"page": 3, "size": 10}', {"page": 4, "size": 10}),
    ],
)  # fmt: skip
def test_parameters(pairs: list[str] | None, text: str | None, values: object) -> None:
    assert request.parameters(pairs, text) == values


def test_parameters_of_a_file_and_of_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.json").write_text('{"한글": 1}', encoding="utf-8")
    assert request.parameters(None, f"@{tmp_path}/p.json") == {"한글": 1}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    assert request.parameters(None, "-") == {"a": 1}


@pytest.mark.parametrize(
    ("pairs", "text", "error"),
    [
        (["page"], None, r"--param takes KEY=VALUE, not 'page'"),
        (["=3"], None, r"--param takes KEY=VALUE, not '=3'"),
        (None, "[1]", r'parameters \(--params\) are a JSON object, such as \{"page": 3\}'),
        (None, "page=3", r"parameters \(--params\) are no JSON"),
        (None, '{"a": NaN}', r"NaN is no JSON value"),
        (None, '{"a": 1, "a": 2}', r"the key 'a' stands twice"),
        (None, "@/no/such/file", r"/no/such/file cannot be read: No such file"),
    ],
)
def test_parameters_that_cannot_be(pairs: list[str] | None, text: str | None, error: str) -> None:
    with pytest.raises(Invalid, match=error):
        request.parameters(pairs, text)


def test_a_file_of_parameters_may_not_be_too_large(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"a": "%s"}' % ("x" * 1024 * 1024))
    with pytest.raises(Invalid, match="parameters are larger than 1 MB"):
        request.parameters(None, f"@{tmp_path}/p.json")


def test_limits() -> None:
    assert request.limits(memory="512MB", cpu="1m", processes="8", open_files=None, disk="1GB") == {
        "memory": 512 * 1024**2, "cpu": 60.0, "processes": 8, "disk": 1024**3,
    }  # fmt: skip
    with pytest.raises(Invalid, match="--open-files: 'many' is no whole number"):
        request.limits(open_files="many")
    with pytest.raises(Invalid, match="--memory: '12 potatoes' is no size"):
        request.limits(memory="12 potatoes")


def test_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request.time, "time", lambda: 10_000.0)
    assert request.moment("--at", None) is None
    assert request.moment("--at", "1900000000.5") == 1900000000.5
    assert request.moment("--at", "2030-01-31T08:00:00+09:00") == 1896044400.0
    assert request.moment("--at", "2030-01-30T23:00:00Z") == 1896044400.0
    assert request.since("1h") == 6400.0
    assert request.since("2030-01-30T23:00:00Z") == 1896044400.0
    assert request.since("1900000000") == 1900000000.0
    with pytest.raises(Invalid, match="--at: 'tomorrow' is no time"):
        request.moment("--at", "tomorrow")


def test_states_and_labels() -> None:
    assert request.states(["pending,Running", "failed"]) == ("pending", "running", "failed")
    assert request.labels(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(Invalid, match="--label takes KEY=VALUE, not 'a'"):
        request.labels(["a"])
