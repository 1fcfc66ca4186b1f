"""A slot runs one job after another, holds each to its limits, and keeps nothing of any."""

import asyncio
import os
import signal

import pytest

from pumasi.core.job import Limits
from pumasi.errors import SandboxFault
from pumasi.sandbox.base import Need, StopReason
from tests.notes import Notes
from tests.sandbox.slots import Slots

MB = 1 << 20


@pytest.mark.parametrize(
    ("source", "exit_code", "number"),
    [
        ("pass", 0, None),
        ("raise SystemExit(3)", 3, None),
        ("import os; os._exit(126)", 126, None),
        ("import os; os._exit(137)", 137, None),
        ("import os; os.kill(os.getpid(), 9)", None, 9),
        ("import os; os.abort()", None, 6),
        ("import os; os.kill(os.getpid(), 15)", None, 15),
    ],
)
async def test_how_it_ended_is_what_happened(
    slots: Slots, source: str, exit_code: int | None, number: int | None
) -> None:
    ending, _ = await slots.run(source)
    assert (ending.exit_code, ending.signal, ending.killed_by, ending.clean) == (exit_code, number, None, True)


async def test_a_deadline_gives_a_moment_and_then_no_more(slots: Slots) -> None:
    polite = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(7))\ntime.sleep(60)"
    ending, _ = await slots.run(polite, timeout=0.3, grace=5.0)
    assert (ending.exit_code, ending.killed_by) == (7, "timeout")
    stubborn = (
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('on', flush=True)\nwhile True: time.sleep(60)"
    )
    ending, _ = await slots.run(stubborn, timeout=0.3, grace=0.1)
    assert (ending.signal, ending.killed_by) == (9, "timeout")


@pytest.mark.parametrize("stopped", ["os.kill(os.getpid(), 19)", "time.sleep(60)"])
async def test_a_stop_ends_it_and_its_daemons(slots: Slots, notes: Notes, stopped: str) -> None:
    source = (
        notes.source
        + f"""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: note("there", 2); time.sleep(60)
    os._exit(0)
note("there", 1)
{stopped}
"""
    )
    async with slots.slot(Need()) as slot:
        running = asyncio.create_task(slots.in_slot(slot, slots.script(source)))
        await notes.noted("there", 2)
        slot.stop("cancelled")
        ending, _ = await running
    assert (ending.killed_by, ending.clean) == ("cancelled", True)
    await notes.gone("there")


@pytest.mark.parametrize("why", ["cancelled", "lost", "drain", "output"])
@pytest.mark.parametrize("gently", [True, False])
async def test_a_stop_says_why_and_is_gentle_when_it_may(
    full: Slots, notes: Notes, why: StopReason, gently: bool
) -> None:
    source = (
        "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(7))\n"
        + notes.source
        + "note('there', 1); time.sleep(60)"
    )
    async with full.slot(Need()) as slot:
        running = asyncio.create_task(full.in_slot(slot, full.script(source), grace=5.0))
        await notes.noted("there")
        slot.stop(why, gently=gently)
        ending, _ = await running
    assert (ending.exit_code, ending.signal, ending.killed_by) == ((7, None, why) if gently else (None, 9, why))


@pytest.mark.parametrize("held", ["", "import os, time\nif os.fork() == 0: time.sleep(60)\n"])
async def test_the_end_of_a_pipe_is_not_the_end_and_a_held_pipe_does_not_put_it_off(slots: Slots, held: str) -> None:
    source = held + "import os\nfor fd in (0, 1, 2, 4): os.close(fd)\nos._exit(5)"
    ending, _ = await slots.run(source)
    assert (ending.exit_code, ending.killed_by, ending.clean) == (5, None, True)


async def test_memory_near_its_limit_is_warned_of_once(slots: Slots) -> None:
    near = "x = bytearray(56 << 20); import time; time.sleep(0.5)"
    ending, _ = await slots.run(near, limits=Limits(memory=64 * MB if slots.level == "full" else 72 * MB))
    assert (ending.killed_by, slots.warnings) == (None, ["memory"])


async def test_a_lease_that_nobody_extends_kills_it(slots: Slots) -> None:
    ending, _ = await slots.run("import time; time.sleep(60)", fence=0.3)
    assert ending.killed_by == "lost"


@pytest.mark.parametrize(
    ("source", "limits", "cause"),
    [
        ("x = bytearray(200 << 20); import time; time.sleep(60)", {"memory": 64 * MB}, "memory"),
        ("while True: pass", {"cpu": 1.0}, "cpu"),
        (
            "import os, time\nfor _ in range(20):\n if not os.fork(): break\ntime.sleep(60)",
            {"processes": 8},
            "processes",
        ),
    ],
)
async def test_a_limit_that_is_overstepped_is_the_cause(
    slots: Slots, source: str, limits: dict[str, float], cause: str
) -> None:
    ending, said = await slots.run(source, limits=Limits(**limits))  # type: ignore[arg-type]
    by_kernel = cause == "cpu" and ending.signal == signal.SIGXCPU
    refused = cause == "processes" and ending.refused_forks > 0 and ending.exit_code == 1
    assert ending.killed_by == cause or by_kernel or refused, (ending, said)


MANY = "import os, time\nfor _ in range(8):\n if not os.fork(): x = bytearray(1 << 24); time.sleep(9)\nos.wait()"
EATERS = {
    "a file in memory": "import os\nfd = os.memfd_create('x')\nwhile True: os.write(fd, bytes(1 << 20))",
    "shared memory": "import mmap\nm = mmap.mmap(-1, 200 << 20)\nfor n in range(0, 200 << 20, 4096): m[n] = 1",
    "children": MANY,
    "files and memory": "open('f', 'wb').write(bytes(40 << 20))\nx = bytearray(60 << 20); import time; time.sleep(60)",
}


@pytest.mark.parametrize("eater", EATERS)
async def test_all_that_is_memory_counts_and_the_slot_outlives_it(full: Slots, eater: str) -> None:
    async with full.slot(Need()) as slot:
        for _ in range(2):
            limits = Limits(memory=64 * MB, processes=32, disk=44 * MB)
            ending, said = await full.in_slot(slot, full.script(EATERS[eater]), limits=limits)
            assert ending.killed_by == "memory", (ending, said)
            ending, said = await full.in_slot(
                slot, full.script("x = bytearray(30 << 20); print('fits')"), limits=limits
            )
            assert (ending.exit_code, said) == (0, "fits\n")
        assert slot.alive


SHARED = """
import ctypes
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
ctypes.memset(libc.shmat(libc.shmget(0, 48 << 20, 0o1600), None, 0), 1, 48 << 20)
"""


async def test_shared_memory_that_a_job_leaves_is_not_charged_to_the_next(full: Slots) -> None:
    leaves, fits = full.script(SHARED), full.script("x = bytearray(48 << 20); print('fits')")
    async with full.slot(Need()) as slot:
        for _ in range(8):
            ending, said = await full.in_slot(slot, leaves, limits=Limits(memory=64 * MB))
            assert ending.exit_code == 0, (ending, said)
            ending, said = await full.in_slot(slot, fits, limits=Limits(memory=64 * MB))
            assert said == "fits\n", ending


async def test_a_full_scratch_does_not_keep_the_next_job_from_a_lower_limit(full: Slots) -> None:
    leaves, fits = full.script("open('f', 'wb').write(bytes(40 << 20))"), full.script("print('fits')")
    async with full.slot(Need()) as slot:
        for _ in range(8):
            ending, said = await full.in_slot(slot, leaves, limits=Limits(memory=128 * MB, disk=64 * MB))
            assert ending.exit_code == 0, (ending, said)
            ending, said = await full.in_slot(slot, fits, limits=Limits(memory=32 * MB))
            assert said == "fits\n", ending


async def test_a_full_scratch_is_seen(sealed: Slots) -> None:
    ending, _ = await sealed.run("open('f', 'wb').write(bytes(20 << 20))", limits=Limits(memory=64 * MB, disk=4 * MB))
    assert (ending.exit_code, ending.disk_full) == (1, True)


async def test_a_folder_that_grows_beyond_its_limit_ends_the_job(unsealed: Slots) -> None:
    files = "n = 0\nwhile True:\n n += 1\n open(str(n), 'wb').write(bytes(1 << 20)); time.sleep(0.01)"
    ending, _ = await unsealed.run(f"import time\n{files}", limits=Limits(disk=8 * MB))
    assert ending.killed_by == "disk"
    ending, _ = await unsealed.run("open('f', 'wb').write(bytes(20 << 20))", limits=Limits(disk=8 * MB))
    assert (ending.exit_code, ending.signal) in [(1, None), (None, signal.SIGXFSZ)]


async def test_no_more_files_than_it_may_have_are_open(slots: Slots) -> None:
    source = "import os\ntry:\n while True: os.dup(0)\nexcept OSError as error: print(error.errno)"
    assert (await slots.run(source, limits=Limits(open_files=40)))[1] == "24\n"


async def test_a_job_has_its_five_descriptors_and_no_others(slots: Slots) -> None:
    # 3 was the payload; the one above 4 is the listing itself
    ending, said = await slots.run("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))")
    assert said == "[0, 1, 2, 3, 4]\n", ending


async def test_chance_is_not_shared_and_no_handler_is_inherited(slots: Slots) -> None:
    source = """
import random, signal, uuid
print(random.random(), uuid.uuid4(), sorted(s for s in signal.valid_signals() if callable(signal.getsignal(s))))
"""
    first, second = [(await slots.run(source))[1].split(" ", 2) for _ in range(2)]
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert first[2] == second[2] == f"[{signal.SIGINT!r}]\n"


async def test_the_environment_is_what_it_was_given(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    _, said = await slots.run("import os; print(sorted(os.environ))")
    assert said == "['HOME', 'PATH', 'TMPDIR']\n"


async def test_a_keeper_that_is_killed_is_a_fault_and_the_next_slot_is_a_new_one(full: Slots, notes: Notes) -> None:
    source = notes.source + "note('there', 1); time.sleep(60)"
    async with full.slot(Need()) as slot:
        running = asyncio.create_task(full.in_slot(slot, full.script(source)))
        await notes.noted("there")
        slot.kill()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await notes.gone("there")
    assert (await full.run("print('next')"))[1] == "next\n"


async def test_what_cannot_be_set_up_is_our_fault(full: Slots) -> None:
    async with full.slot(Need()) as slot:
        with pytest.raises(SandboxFault, match="No such file"):
            await full.in_slot(slot, "f" * 64)
        assert (await full.in_slot(slot, full.script("print(1)")))[1] == "1\n"


async def test_no_group_and_no_process_is_left(full: Slots) -> None:
    await full.run("import os, time\nif os.fork() == 0: os.setsid(); time.sleep(60)")
    cgroups = full.templates.host.cgroups
    assert cgroups is not None
    folders = list(cgroups._folders.values())
    await full.templates.close()
    assert not any(os.path.exists(folder) for folder in folders)
