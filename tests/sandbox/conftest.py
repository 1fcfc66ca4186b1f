"""Every level that this machine can offer."""

import os
from collections.abc import AsyncIterator

import pytest

from pumasi.errors import BadSetting
from tests.sandbox.slots import Slots

LEVELS = ("full", "unprivileged", "container", "basic")


@pytest.fixture(params=LEVELS)
async def slots(request: pytest.FixtureRequest) -> AsyncIterator[Slots]:
    """Slots of each level."""
    async for opened in _opened(request.param):
        yield opened


@pytest.fixture(params=("full", "unprivileged"))
async def sealed(request: pytest.FixtureRequest) -> AsyncIterator[Slots]:
    """Slots of the levels with a root of their own."""
    async for opened in _opened(request.param):
        yield opened


@pytest.fixture(params=("container", "basic"))
async def unsealed(request: pytest.FixtureRequest) -> AsyncIterator[Slots]:
    """Slots of the levels without one."""
    async for opened in _opened(request.param):
        yield opened


@pytest.fixture
async def full() -> AsyncIterator[Slots]:
    """Slots of the best level."""
    async for opened in _opened("full"):
        yield opened


async def _opened(level: str) -> AsyncIterator[Slots]:
    slots = Slots(level)
    slots.scratch.open()
    try:
        await slots.templates.open()
    except BadSetting as error:
        await slots.close()
        if os.environ.get("CI") and level == "full" and os.geteuid() == 0:
            raise
        pytest.skip(str(error))
    yield slots
    await slots.close()
