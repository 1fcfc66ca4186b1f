"""Sizes, durations and rates: what people write, what is refused, and that what we write we can read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.errors import Invalid
from pumasi.units import format_duration, format_size, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512MB", 512 * 2**20),
        ("512mb", 512 * 2**20),
        (" 512 MiB ", 512 * 2**20),
        ("1.5GB", 3 * 2**29),
        ("10k", 10240),
        ("1KB", 1024),
        ("87", 87),
        ("87B", 87),
        ("0", 0),
        ("2T", 2 * 2**40),
        (1048576, 1048576),
        (12.0, 12),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_sizes(text: str | float, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "value",
    ["12 potatoes", "", "MB", "-5", -5, "1e5", "0x10", "1,5MB", "9" * 5000, pytest.param(10**5000, id="endless"), True,
     None, [1], "inf", "nan",
     float("nan"), float("inf"), "8192 PB", "٣MB", "1..5MB"],
)  # fmt: skip
def test_what_is_no_size(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        parse_size(value)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90),
        ("90", 90),
        (90, 90),
        (0.25, 0.25),
        ("250ms", 0.25),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1 h 5 min", 3900),
        ("1D", 86400),
        ("0", 0),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "x", "-1", -1, "5s5", "1 potato", "1e3", "9" * 5000, float("inf"), float("nan"), False, None, 10**400]
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(Invalid):
        parse_duration(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/min", (10, 60)), ("5/s", (5, 1)), ("100/2h", (100, 7200)), ("3 / day", (3, 86400)), ("1/500ms", (1, 0.5))],
)
def test_rates(text: str, rate: tuple[int, float]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("value", ["", "10", "0/s", "10/0s", "-1/s", "1/week", 10, None, "1/min/s", "9" * 5000 + "/s"])
def test_what_is_no_rate(value: object) -> None:
    with pytest.raises(Invalid):
        parse_rate(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KB"), (1536, "1.5 KB"), (2**29, "512 MB"), (2**60, "1024 PB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (0.0012, "1.2ms"), (1, "1s"), (12.34, "12.3s"), (59.97, "1m"), (90, "1m30s"),
     (3599.9, "1h"), (7500, "2h5m"), (86400, "1d"), (100000, "1d4h"), (-3, "-3s")],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 2**60))
def test_a_size_we_write_is_one_we_read(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.06, abs=1)


@given(st.floats(0.001, 10**8))
def test_a_duration_we_write_is_one_we_read(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.06)
