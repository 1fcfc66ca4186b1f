"""Requests of programs that know no gateway: the worker finds their scripts itself."""

import os
from pathlib import Path

import pytest

from pumasi.core.ids import new_id
from pumasi.core.job import Cause, Job, State
from tests.harness import System


async def ended(system: System, script: str, **fields: object) -> Job:
    """A bare job, put on the broker by somebody who has no script at hand, and run."""
    (job,) = await system.broker.submit([Job(id=new_id(), script=script, **fields)])  # type: ignore[arg-type]
    return await system.end(job)


@pytest.fixture
def robots(tmp_path: Path) -> Path:
    folder = tmp_path / "robots" / "shop"
    folder.mkdir(parents=True)
    (folder / "helper.txt").write_text("from beside")
    (folder / "run.py").write_text("import os, sys\nprint(open('helper.txt').read(), *sys.argv[1:], os.getcwd())\n")
    return tmp_path / "robots"


async def test_a_name_is_found_among_the_workers_scripts(working: System) -> None:
    working.script("echo.py", "def main(**given): return given")
    done = await ended(working, "echo", parameters='{"a":1}')
    assert (done.state, done.result) == (State.COMPLETED, '{"a": 1}')


async def test_what_its_manifest_says_holds(working: System) -> None:
    working.script(
        "strict.py",
        """\
        # /// script
        # [tool.pumasi]
        # timeout = "1s"
        # parameters = {type = "object", required = ["url"]}
        # ///
        import time
        time.sleep(60)
        """,
    )
    refused = await ended(working, "strict", parameters="{}")
    assert (refused.state, refused.cause) == (State.FAILED, Cause.INVALID)
    assert "url" in refused.error
    late = await ended(working, "strict", parameters='{"url":"x"}')
    assert late.cause is Cause.TIMEOUT


async def test_output_that_is_no_json_is_a_fault_to_those_who_wait_for_json(working: System) -> None:
    working.script("hello.py", "print('hello')")
    done = await ended(working, "hello", parameters="{}")
    assert done.cause is Cause.BAD_RESULT


async def test_a_script_that_is_not_there_is_said_so(working: System) -> None:
    done = await ended(working, "nobody")
    assert (done.state, done.cause) == (State.FAILED, Cause.INVALID)
    assert "there is no script 'nobody'" in done.error


async def test_a_path_is_run_below_the_folders_that_are_allowed(system: System, robots: Path) -> None:
    async with system.working(script_paths=(robots,)):
        done = await ended(system, str(robots / "shop" / "run.py"), args=("a", "b"))
        assert done.state is State.COMPLETED, done.error
        assert done.result is None
        assert "from beside a b" in await system.log(done)
        assert str(robots) not in await system.log(done)  # the folder it sees is its own


async def test_a_path_elsewhere_is_refused_naming_the_setting(system: System, robots: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("print(1)")
    os.symlink(outside, robots / "link.py")
    async with system.working(script_paths=(robots,)):
        for path in (str(outside), f"{robots}/../outside.py", f"{robots}/none.py", "relative/run.py"):
            done = await ended(system, path)
            assert done.cause is Cause.INVALID
            assert "script_paths" in done.error
        done = await ended(system, str(robots / "link.py"))
        assert done.cause is Cause.INVALID
        assert "leads out" in done.error


async def test_without_a_setting_no_path_is_run(working: System, robots: Path) -> None:
    done = await ended(working, str(robots / "shop" / "run.py"))
    assert "PUMASI_SCRIPT_PATHS" in done.error


async def test_neighbours_beyond_the_bounds_stay_away_and_its_imports_come(system: System, robots: Path) -> None:
    shop = robots / "shop"
    (shop / "mine.py").write_text("x = 7")
    (shop / "run.py").write_text("import mine\nprint(mine.x)")
    with open(shop / "huge.bin", "wb") as file:
        file.truncate(1 << 30)
    async with system.working(script_paths=(robots,)):
        done = await ended(system, str(shop / "run.py"))
        assert done.state is State.COMPLETED, done.error
        assert "7" in await system.log(done)
