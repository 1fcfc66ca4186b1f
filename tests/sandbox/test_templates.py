"""Templates: warm when they can be, cold when they cannot, gone with their worker."""

import asyncio
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from pumasi.sandbox import cgroup
from pumasi.sandbox import template as templates_of
from pumasi.sandbox.base import Need
from pumasi.sandbox.template import Template
from tests.harness import System
from tests.notes import Notes
from tests.processes import processes
from tests.sandbox.slots import Slots

WARM = "import sys; print('heavy' in sys.modules)"


def need(slots: Slots, source: str = WARM, **files: str) -> Need:
    """A script that preloads its own module `heavy`."""
    return Need(preload=("heavy",), digest=slots.script(source, **files))


async def template_of(slots: Slots, need: Need) -> Template:
    """The need's template, once it is ready or unfit."""
    await slots.templates._prepare(need)
    return slots.templates._templates[need]


async def warm(slots: Slots, need: Need) -> bool:
    async with slots.slot(need) as slot:
        return (await slots.in_slot(slot, need.digest))[1] == "True\n"


async def test_a_run_is_cold_until_its_template_is_ready_and_warm_after(slots: Slots) -> None:
    need_ = need(slots, heavy="VALUE = 1")
    assert not await warm(slots, need_)
    await template_of(slots, need_)
    assert await warm(slots, need_)


@pytest.mark.parametrize(
    ("preload", "why"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "1 threads"),
    ],
)
async def test_a_preload_that_cannot_be_used_is_told_once_and_runs_stay_cold(
    full: Slots, preload: str, why: str
) -> None:
    need_ = need(full, heavy=preload)
    template = await template_of(full, need_)
    assert why in (template.unfit or "")
    assert not await warm(full, need_)
    assert full.templates._templates[need_] is template


async def test_a_preload_that_ends_its_process_hurts_only_its_own_script(full: Slots) -> None:
    need_ = need(full, heavy="import os; os._exit(0)")
    await full.templates._prepare(need_)
    assert not await warm(full, need_)
    assert (await full.run("print('other')"))[1] == "other\n"


async def test_a_preload_that_never_ends_holds_nobody_up(full: Slots) -> None:
    need_ = need(full, heavy="import time; time.sleep(3600)")
    for _ in range(2):
        assert not await warm(full, need_)


async def test_a_template_that_is_given_up_while_it_starts_leaves_no_process(
    full: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    spawning, spawn = asyncio.Event(), templates_of._spawn
    loop, going = asyncio.get_running_loop(), threading.Event()

    def slow(*args: Any) -> subprocess.Popen[bytes]:
        loop.call_soon_threadsafe(spawning.set)
        going.wait(20)
        started.append(spawn(*args))
        return started[0]

    monkeypatch.setattr(templates_of, "_spawn", slow)
    preparing = asyncio.create_task(full.templates._prepare(need(full, heavy="VALUE = 1")))
    await spawning.wait()
    preparing.cancel()
    going.set()
    await asyncio.gather(preparing, return_exceptions=True)
    await full.templates.close()
    assert started[0].returncode is not None


async def test_brothers_of_one_template_share_no_chance_no_handler_and_no_descriptor(slots: Slots) -> None:
    heavy = """
import os, random, signal, sys, types
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
HELD = os.dup(1)
DRAWN = []
numpy = sys.modules["numpy.random"] = types.ModuleType("numpy.random")
numpy.seed = lambda: DRAWN.append(random.random())
"""
    source = """
import heavy, os, random, signal, uuid
print(random.random(), os.urandom(8).hex(), uuid.uuid4(), heavy.DRAWN)
print(signal.getsignal(signal.SIGUSR1) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
print(sorted(map(int, os.listdir("/proc/self/fd"))))
"""
    need_ = need(slots, source, heavy=heavy)
    await template_of(slots, need_)
    said = []
    for _ in range(2):
        async with slots.slot(need_) as slot:
            said.append((await slots.in_slot(slot, need_.digest))[1].splitlines())
    first, second = (lines[0].split() for lines in said)
    assert len(first) == len(second) == 4  # the stand-in for numpy was seeded, once
    assert not set(first) & set(second)
    assert [lines[1:] for lines in said] == [["True", "[0, 1, 2, 3, 4]"]] * 2


async def test_a_preload_cannot_write_where_others_read(full: Slots) -> None:
    tries = """
import os
TRIED = {}
for place in ("/.cache", "/usr", "/home/script/work", "/etc", "/.scratch", "/"):
    try:
        open(place + "/planted", "w").close()
        TRIED[place] = "written"
    except OSError as error:
        TRIED[place] = error.strerror
"""
    need_ = need(full, "import heavy; print(sorted(set(heavy.TRIED.values())))", heavy=tries)
    await template_of(full, need_)
    async with full.slot(need_) as slot:
        _, said = await full.in_slot(slot, need_.digest)
    assert said == "['Permission denied', 'Read-only file system']\n"


async def test_a_template_that_is_killed_is_replaced_and_after_three_deaths_it_is_left(full: Slots) -> None:
    need_ = need(full, heavy="VALUE = 1")
    for _ in range(3):
        template = await template_of(full, need_)
        assert await warm(full, need_)
        assert template._process is not None
        (inner,) = psutil.Process(template._process.pid).children()
        inner.kill()
        await asyncio.to_thread(template._process.wait)
        assert not await warm(full, need_)
    assert need_ not in full.templates._templates
    assert (await full.run("print('others go on')"))[1] == "others go on\n"


async def test_the_one_asked_for_least_lately_goes_when_there_are_many(
    full: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pumasi.sandbox.templates.MAX_TEMPLATES", 3)
    needs = [need(full, heavy=f"VALUE = {n}") for n in range(4)]
    for need_ in needs:
        await template_of(full, need_)
        assert await warm(full, need_)
    kept = [need_ for need_ in needs if need_ in full.templates._templates]
    assert kept == needs[-2:]


def below(pid: int) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children(recursive=True)}


@pytest.mark.parametrize("level", ["full", "unprivileged", "basic"])
async def test_a_worker_that_is_killed_leaves_no_process_and_the_next_removes_its_groups(
    tmp_path: Path, notes: Notes, level: str
) -> None:
    with processes(tmp_path) as workers:
        async with System(tmp_path, workers.url).open() as system:
            system.script("long.py", notes.source + "note('there', 1); time.sleep(60)")
            worker = workers.worker(PUMASI_ISOLATION=level)
            await system.submit("long")
        await notes.noted("there")
        left = psutil.Process(worker.pid).children(recursive=True)
        assert len(left) >= 4  # guard, template, keeper, job
        os.kill(worker.pid, signal.SIGKILL)
        await notes.gone("there")
        _, alive = await asyncio.to_thread(psutil.wait_procs, left, 20)
        assert not alive
    if level == "full":
        homes = cgroup.locate(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())[1]
        async with asyncio.timeout(10):  # the kernel lets go of the dead a little after they are gone
            for home in {Path(home) for home in homes.values()}:
                while any(home.glob(f"pumasi-{worker.pid}-*")):
                    cgroup.sweep(str(home))
                    await asyncio.sleep(0.01)


async def test_a_template_knows_nothing_of_the_workers_environment(
    full: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "of the worker")
    await full.run("pass")
    (template,) = full.templates._templates.values()
    assert template._process is not None
    inside = below(template._process.pid)
    assert len(inside) == 2  # template, keeper
    for pid in (template._process.pid, *inside):
        environ = Path(f"/proc/{pid}/environ").read_text()
        assert "A_SECRET" not in environ
        assert "PUMASI" not in environ
