"""What a manifest says of the cage, as a script meets it."""

import json
import os

import pytest

from pumasi.core.job import Cause, State
from tests.harness import System
from tests.notes import Notes

PRELOADED = """
import sys, json
def main():
    return {"warm": "heavy" in sys.modules, "heavy": __import__("heavy").VALUE}
"""


async def test_a_command_runs_in_the_same_cage(working: System) -> None:
    working.script("shell/pumasi.toml", 'command = ["sh", "run.sh"]')
    working.script("shell/run.sh", 'echo "{\\"who\\": \\"$(id -u)\\", \\"where\\": \\"$PWD\\"}"')
    job = await working.run("shell")
    assert job.state is State.COMPLETED, job.error
    assert json.loads(job.result or "") == {"who": "1000", "where": "/home/script/work"}


async def test_a_command_gets_its_parameters_and_arguments_as_arguments(working: System) -> None:
    working.script("shell/pumasi.toml", 'command = ["sh", "run.sh", "first"]')
    working.script("shell/run.sh", 'echo "$1 $2 $3 $4"')
    job = await working.run("shell", {"page": 1}, args=["last"])
    assert await working.log(job) == 'first --parameters {"page":1} last\n'


async def test_a_command_that_is_not_there_says_so(working: System) -> None:
    working.script("gone/pumasi.toml", 'command = ["no-such-program"]')
    job = await working.run("gone")
    assert (job.state, job.cause, job.exit_code) == (State.FAILED, Cause.EXIT, 127)
    assert job.error == "no-such-program: No such file or directory"


async def test_a_script_without_a_network_has_none(working: System, notes: Notes) -> None:
    working.script("alone/pumasi.toml", 'network = "none"')
    working.script("alone/main.py", notes.source + "note('there', 1)\n")
    job = await working.run("alone")
    assert job.state is State.FAILED
    assert "Connection refused" in (job.error or "")
    assert job.openings == ()
    assert notes.of("there") == []


async def test_no_network_is_refused_where_nothing_can_hold_a_script_to_it(system: System) -> None:
    system.script("alone/pumasi.toml", 'network = "none"')
    system.script("alone/main.py", "print(1)")
    async with system.working(isolation="basic"):
        job = await system.run("alone")
    assert (job.state, job.cause) == (State.FAILED, Cause.INVALID)
    assert "isolation level basic cannot hold it to that" in (job.error or "")


async def test_what_is_open_stands_in_the_record(working: System) -> None:
    working.script("plain.py", "print(1)")
    assert (await working.run("plain")).openings == ("host-network",)
    working.script("more/pumasi.toml", 'browser = true\nnetwork = "none"\nscratch = "disk"')
    working.script("more/main.py", "print(1)")
    assert (await working.run("more")).openings == ("user-namespaces", "disk-scratch")


async def test_only_a_browser_may_make_user_namespaces(working: System) -> None:
    source = "import os, subprocess\nprint(subprocess.run(['unshare', '--user', 'true']).returncode)\n"
    for name, manifest in (("plain", ""), ("browser", "browser = true")):
        working.script(f"{name}/pumasi.toml", manifest)
        working.script(f"{name}/main.py", source)
    assert (await working.run("plain")).result == "1"
    assert (await working.run("browser")).result == "0"


async def test_a_preload_is_there_once_its_template_is(working: System) -> None:
    working.script("warm/pumasi.toml", 'preload = ["heavy"]')
    working.script("warm/heavy.py", "VALUE = 7")
    working.script("warm/main.py", PRELOADED)
    while not (seen := json.loads((await working.run("warm")).result or ""))["warm"]:
        assert seen["heavy"] == 7
    assert seen == {"warm": True, "heavy": 7}


@pytest.mark.parametrize("preload", ["import threading; threading.Thread(target=threading.Event().wait).start()",
                                     "1 / 0", "import os; os._exit(3)", "raise SystemExit"])  # fmt: skip
async def test_a_preload_that_cannot_be_used_is_no_loss(working: System, preload: str) -> None:
    working.script("cold/pumasi.toml", 'preload = ["hostile"]')
    working.script("cold/hostile.py", preload)
    working.script("cold/main.py", "def main(): return 'ran'")
    working.script("other.py", "def main(): return 'other'")
    for _ in range(3):
        assert (await working.run("cold")).result == '"ran"'
        assert (await working.run("other")).result == '"other"'


async def test_a_full_scratch_is_disk_and_so_are_too_many_files(working: System) -> None:
    working.script("bytes.py", "open('f', 'wb').write(bytes(20 << 20))")
    working.script("files.py", "for n in range(10_000): open(str(n), 'w').close()")
    for name in ("bytes", "files"):
        job = await working.run(name, limits={"disk": "4MB"})
        assert (job.state, job.cause) == (State.FAILED, Cause.DISK), job.error
    assert job.error == "disk: more than 1024 files and folders"


async def test_a_scratch_in_memory_leaves_room_for_the_run(working: System) -> None:
    working.script("plain.py", "print(1)")
    job = await working.run("plain", limits={"memory": "64MB", "disk": "1GB"})
    assert (job.enforced.memory, job.enforced.disk) == (64 << 20, 48 << 20)


async def test_refused_forks_are_the_cause_of_a_failure(working: System) -> None:
    working.script(
        "forks.py", "import os, time\nfor _ in range(30):\n if not os.fork():\n  time.sleep(0.05); os._exit(0)"
    )
    job = await working.run("forks", limits={"processes": 5})
    assert (job.state, job.cause) == (State.FAILED, Cause.PROCESSES), job.error


async def test_the_next_job_finds_nothing_of_the_last(working: System) -> None:
    working.script(
        "leaves.py",
        """
        import os
        for folder in (os.getcwd(), os.environ["HOME"], "/tmp", "/dev/shm", os.environ["TMPDIR"]):
            open(os.path.join(folder, "left"), "w").close()
        """,
    )
    working.script(
        "looks.py",
        """
        import os
        def main():
            return [f for f in ("/tmp", "/dev/shm", os.environ["HOME"], ".") if "left" in os.listdir(f)]
        """,
    )
    assert (await working.run("leaves")).state is State.COMPLETED
    assert (await working.run("looks")).result == "[]"
    assert not os.path.exists("/tmp/left")
    assert not os.path.exists("/dev/shm/left")
