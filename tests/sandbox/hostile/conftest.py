"""One worker a level and module; a level that this machine does not offer is skipped, and says why."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pumasi.errors import BadSetting
from pumasi.sandbox.uids import FIRST, may_change_users
from tests.harness import System
from tests.sandbox.hostile.bench import Bench
from tests.sandbox.hostile.expected import LEVELS

SYSTEM_PYTHON = "/usr/bin/python3"


@pytest_asyncio.fixture(scope="module", params=LEVELS, loop_scope="module")
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The bench of a level."""
    async with opened(request.param) as bench:
        await bench.warm_up()
        yield bench
        bench.close()


@contextlib.asynccontextmanager
async def opened(level: str, **settings: Any) -> AsyncIterator[Bench]:
    """A worker at a level, in a folder that the users of slots can pass through."""
    if level == "container" and may_change_users():
        settings["python"] = reachable_python()
    try:
        async with contextlib.AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-"))
            os.chmod(folder, 0o755)
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("PUMASI_LANG", "en")
            system = await stack.enter_async_context(System(Path(folder), isolation=level, slots=2, **settings).open())
            worker = await stack.enter_async_context(system.working())
            if system._task is not None and system._task.done():
                system._task.result()
            yield Bench(level, system, worker)
    except BadSetting as error:
        refused(level, str(error))


def refused(level: str, why: str) -> None:
    """A machine for continuous integration that has lost its cage must not look like one that passes."""
    if level == "full" and os.geteuid() == 0 and os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def reachable_python() -> str:
    """An interpreter that a user of no privileges can start."""
    command = [SYSTEM_PYTHON, "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 9))"]
    try:
        subprocess.run(command, user=FIRST, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{SYSTEM_PYTHON} cannot be started by another user")
    return SYSTEM_PYTHON
