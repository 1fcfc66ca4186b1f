"""What all tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import System
from tests.notes import Notes

# no test modules by name: their asserts are to explain themselves all the same
pytest.register_assert_rewrite("tests.broker.conformance", "tests.broker.state_machine")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are compared in English, and no setting of the machine's shell reaches a test."""
    monkeypatch.setenv("PUMASI_LANG", "en")


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """A system on a memory broker, without a worker."""
    async with System(tmp_path).open() as system:
        yield system


@pytest.fixture
async def working(system: System) -> AsyncIterator[System]:
    """A system with a worker."""
    async with system.working():
        yield system


@pytest.fixture
async def notes() -> AsyncIterator[Notes]:
    """Where scripts note what they do."""
    notes = Notes()
    await notes.open()
    yield notes
    await notes.close()
