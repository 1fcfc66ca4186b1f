"""What is published is what is tested."""

from tests.sandbox.hostile.table import PAGE, between, render


def test_the_page_shows_the_table() -> None:
    shown = between(PAGE.read_text("utf-8"))
    assert shown == render(), "run python -m tests.sandbox.hostile.table"
