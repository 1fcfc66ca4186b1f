"""Fixtures of the fault tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.site import Site
from tests.harness import System
from tests.notes import Notes
from tests.processes import processes


@pytest.fixture
async def site(tmp_path: Path, notes: Notes) -> AsyncIterator[Site]:
    with processes(tmp_path) as workers:
        async with System(tmp_path, workers.url).open() as system:
            yield Site(system, workers, notes)
