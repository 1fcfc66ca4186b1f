"""A script becomes a job, and its ending says why: runs of real scripts, from the request to the record."""

import json
import os

import pytest

from pumasi.core.job import Cause, State
from tests.harness import System
from tests.notes import Notes

CLASSIC = """
import argparse, json

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=json.loads, default={})
    page = parser.parse_args().parameters.get("page", 1)
    print("scraping page", page)
    print(json.dumps({"page": page, "items": [1, 2, 3]}))

if __name__ == "__main__":
    main()
"""


async def test_a_classic_script_with_argparse_and_a_guard_runs_untouched(working: System) -> None:
    working.script("catalogue.py", CLASSIC)
    job = await working.run("catalogue", {"page": 7})
    assert job.state is State.COMPLETED, job.error
    assert json.loads(job.result or "") == {"page": 7, "items": [1, 2, 3]}
    assert await working.log(job) == "scraping page 7\n"
    assert job.exit_code == 0
    assert job.isolation == "full"
    assert job.peaks.memory
    assert job.enforced.open_files == 1024
    assert {"fetch", "prepare", "run", "collect"} <= set(job.phases)


async def test_a_main_without_a_guard_is_called_with_the_parameters(working: System) -> None:
    working.script("adds.py", "def main(a: int, b: int = 2):\n    return {'sum': a + b}\n")
    assert (await working.run("adds", {"a": 40})).result == '{"sum": 42}'


async def test_an_async_main_is_awaited(working: System) -> None:
    working.script("later.py", "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return [1]\n")
    assert (await working.run("later")).result == "[1]"


async def test_arguments_make_a_plain_program_of_it(working: System) -> None:
    working.script("plain.py", 'import sys\nprint(\'{"not": "a result"}\', sys.argv[1:])')
    job = await working.run("plain", args=["one", "two words"])
    assert (job.state, job.result) == (State.COMPLETED, None)
    assert await working.log(job) == "{\"not\": \"a result\"} ['one', 'two words']\n"


async def test_without_parameters_none_are_passed_and_an_empty_object_is(working: System) -> None:
    working.script("argv.py", "import sys, json\nprint(json.dumps(sys.argv[1:]))")
    assert (await working.run("argv")).result == "[]"
    assert (await working.run("argv", {})).result == '["--parameters", "{}"]'


async def test_a_megabyte_of_parameters_reaches_the_script_and_no_process_list(working: System) -> None:
    working.script(
        "big.py",
        """
        import json, sys
        seen = open("/proc/self/cmdline").read() + open("/proc/self/environ").read()
        print(json.dumps({"size": len(json.loads(sys.argv[2])["text"]), "seen": "xxxx" in seen}))
        """,
    )
    job = await working.run("big", {"text": "x" * 1_000_000})
    assert json.loads(job.result or "") == {"size": 1_000_000, "seen": False}


@pytest.mark.parametrize(
    ("source", "cause", "error", "exit_code", "signal"),
    [
        ("import sys; print('bad', file=sys.stderr); sys.exit(3)", Cause.EXIT, "bad", 3, None),
        ("import os; os._exit(137)", Cause.EXIT, "exited with code 137", 137, None),
        ("1/0", Cause.EXIT, "ZeroDivisionError", 1, None),
        ("def main(): return 1/0", Cause.ERROR, "ZeroDivisionError", 1, None),
        ("def main(wanted): pass", Cause.INVALID, "wanted", 1, None),
        ("import os; os.kill(os.getpid(), 9)", Cause.SIGNAL, "signal 9", None, 9),
        ("print('{\"a\": NaN}')", Cause.BAD_RESULT, "NaN", 0, None),
        ("def main(): return float('inf')", Cause.BAD_RESULT, "Infinity", 0, None),
        ("def main(): return {1, 2}", Cause.BAD_RESULT, "set", 0, None),
        ("def main():\n import sys; sys.exit(0)", Cause.BAD_RESULT, "did not return", 0, None),
        ("print('[' * 100000 + ']' * 100000)", Cause.BAD_RESULT, "deeper", 0, None),
        ("print('9' * 5000)", Cause.BAD_RESULT, "digits", 0, None),
    ],
)
async def test_an_ending_says_why(
    working: System, source: str, cause: Cause, error: str, exit_code: int | None, signal: int | None
) -> None:
    working.script("fails.py", source)
    job = await working.run("fails", {})
    assert (job.state, job.cause, job.exit_code, job.signal) == (State.FAILED, cause, exit_code, signal)
    assert error in (job.error or "")
    working.script("next.py", "def main(): return 'alive'")
    assert (await working.run("next")).result == '"alive"'


async def test_a_traceback_shows_the_script_and_nothing_of_ours(working: System) -> None:
    working.script("raises.py", "def inner():\n    raise KeyError('x')\ninner()\n")
    error = (await working.run("raises")).error or ""
    assert error.splitlines()[0] == "Traceback (most recent call last):"
    assert "raises.py" in error.splitlines()[1]
    assert "bootstrap" not in error


@pytest.mark.parametrize(
    ("source", "fields", "cause"),
    [
        ("import time; time.sleep(60)", {"timeout": 0.5}, Cause.TIMEOUT),
        ("x = bytearray(300 << 20); import time; time.sleep(60)", {"limits": {"memory": "100MB"}}, Cause.MEMORY),
        ("while True: pass", {"limits": {"cpu": 1}}, Cause.CPU),
        ("import os, time\nfor _ in range(30):\n if not os.fork(): break\ntime.sleep(60)", {"limits": {"processes":
        9}}, Cause.PROCESSES), ("open('f', 'wb').write(bytes(20 << 20))", {"limits": {"disk": "5MB"}}, Cause.DISK),
        ("while True: print('x' * 1000)", {"limits": {"output": "1MB"}}, Cause.OUTPUT),
    ],
)  # fmt: skip
async def test_a_breach_is_its_own_cause_with_the_peak_against_the_limit(
    working: System, source: str, fields: dict[str, object], cause: Cause
) -> None:
    working.script("greedy.py", source)
    job = await working.run("greedy", **fields)
    assert (job.state, job.cause) == (State.FAILED, cause), job.error
    if cause is not Cause.TIMEOUT:
        assert getattr(job.peaks, cause.value) >= getattr(job.enforced, cause.value)


async def test_a_large_result_goes_to_the_blob_store_and_comes_back_whole(working: System) -> None:
    working.script("large.py", "def main(): return 'x' * 1_000_000")
    job = await working.run("large")
    assert job.result is None
    assert job.result_size == 1_000_002
    assert await working.broker.result(job) == '"' + "x" * 1_000_000 + '"'


async def test_a_result_over_the_limit_says_output_with_the_sizes(system: System) -> None:
    system.script("large.py", "def main(): return 'x' * 100_000")
    async with system.working(result_limit=50_000):
        job = await system.run("large")
    assert job.cause is Cause.OUTPUT
    assert "97.7 KB" in (job.error or "")


async def test_the_environment_is_closed(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_WORKER", "1")
    monkeypatch.setenv("SHARED", "yes")
    system.script("env.py", "import os, json\nprint(json.dumps(dict(os.environ)))")
    system.script(
        "asks.py",
        '# /// script\n# [tool.pumasi]\n# env = ["SHARED"]\n# ///\nimport os\ndef main(): return os.environ["SHARED"]',
    )
    async with system.working(allow_env=("SHARED",)):
        env = json.loads((await system.run("env")).result or "")
        assert (await system.run("asks")).result == '"yes"'
    assert set(env) <= {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONUTF8", "TZ", "PYTHONPATH", "PUMASI_JOB_ID",
                        "PUMASI_ATTEMPT", "LC_CTYPE"}  # fmt: skip
    async with system.working():
        job = await system.run("asks")
    assert job.cause is Cause.INVALID
    assert "allow_env" in (job.error or "")


async def test_a_script_sees_its_folder_as_its_own_and_writes_nothing_back(working: System) -> None:
    working.script(
        "tool/main.py", "import helper\nopen('data.txt', 'a').write('!')\nprint(open('data.txt').read(), helper.X)"
    )
    working.script("tool/helper.py", "X = 5\nopen('made', 'w').close()")
    working.script("tool/data.txt", "data")
    for _ in range(2):
        job = await working.run("tool")
        assert await working.log(job) == "data! 5\n", job.error
    assert sorted(os.listdir(working.scripts / "tool")) == ["data.txt", "helper.py", "main.py"]


async def test_a_file_beside_the_script_cannot_get_at_the_harness(working: System) -> None:
    working.script("shadow/main.py", "import json\nprint(json.X)")
    working.script("shadow/json.py", "X = 'mine'")
    assert await working.log(await working.run("shadow")) == "mine\n"


async def test_progress_log_and_artifacts_of_a_script_that_likes_to(working: System) -> None:
    working.script(
        "likes.py",
        """
        from pumasi import script
        for n in range(3):
            script.progress(n + 1, 3, f"page {n + 1}")
        script.log("hello", script.params["who"])
        open("page.png", "wb").write(b"png")
        script.artifact("page.png")
        print("[1, 2]")
        """,
    )
    job = await working.run("likes", {"who": "world"})
    assert job.state is State.COMPLETED, job.error
    assert job.progress is not None
    assert (job.progress.done, job.progress.total, job.progress.note) == (3, 3, "page 3")
    assert "hello world" in await working.log(job)
    assert job.artifacts == ("page.png",)
    assert await working.broker.artifacts(job) == {"page.png": 3}
    assert await working.broker.artifact(job, "page.png") == b"png"


@pytest.mark.parametrize("scratch", ["memory", "disk"])
async def test_artifacts_that_the_manifest_means_and_lines_as_they_are_printed(
    working: System, notes: Notes, scratch: str
) -> None:
    working.script("files/pumasi.toml", f'artifacts = ["out/*.csv"]\nscratch = "{scratch}"')
    source = """
os.mkdir("out")
open("out/a.csv", "w").write("1")
open("out/b.txt", "w").write("2")
print("first")
waits("test")
"""
    working.script("files/main.py", notes.source + source)
    job = await working.submit("files")
    async for record in working.broker.follow(job.id):
        assert record.data == b"first\n"
        await notes.noted("test")
        notes.go("test")
    assert (await working.end(job)).artifacts == ("out/a.csv",)
    assert list((working.folder / "data" / "scratch").glob("*/*")) == []


async def test_a_script_that_closes_everything_still_ends(working: System) -> None:
    working.script(
        "closes.py", "import os\nfor fd in range(256):\n    try: os.close(fd)\n    except OSError: pass\nos._exit(0)"
    )
    job = await working.run("closes")
    assert (job.state, job.result) == (State.COMPLETED, None)


async def test_a_flood_is_bounded_and_counted(working: System) -> None:
    working.script("flood.py", "import sys\nfor n in range(200_000): sys.stdout.write('x' * 100 + '\\n')\nprint('end')")
    job = await working.run("flood")
    assert job.state is State.COMPLETED
    assert job.peaks.output == 200_000 * 101 + 4
    log = await working.log(job)
    assert len(log) < 2_000_000
    assert "left out" in log


async def test_a_failed_run_is_tried_again_as_often_as_it_may(working: System) -> None:
    working.script("flaky.py", "import os, sys\nsys.exit(int(os.environ['PUMASI_ATTEMPT']) < 3)")
    job = await working.run("flaky", retry={"max_attempts": 3, "delay": 0.01})
    assert (job.state, job.attempt, job.retries_used) == (State.COMPLETED, 3, 2)
    job = await working.run("flaky", retry={"max_attempts": 2, "delay": 0.01})
    assert (job.state, job.attempt, job.cause) == (State.FAILED, 2, Cause.EXIT)


async def test_a_cancel_stops_the_script_and_its_children(working: System, notes: Notes) -> None:
    body = "if os.fork() == 0: os.setsid()\nnote('there', os.getpid())\ntime.sleep(60)"
    working.script("long.py", notes.source + body)
    job = await working.submit("long")
    await notes.noted("there", 2)
    await working.broker.cancel(job.id)
    ended = await working.end(job)
    assert (ended.state, ended.cause) == (State.CANCELLED, Cause.CANCELLED)
    await notes.gone("there")


async def test_the_content_of_submit_time_runs_whatever_was_edited_since(system: System) -> None:
    system.script("edited.py", "def main(): return 'old'")
    job = await system.submit("edited")
    system.script("edited.py", "def main(): return 'new'")
    async with system.working():
        assert (await system.end(job)).result == '"old"'


async def test_a_drain_finishes_what_it_can_and_releases_the_rest(system: System) -> None:
    system.script("sleeps.py", "import time\ndef main(s): time.sleep(s); return s")
    async with system.working(drain=2.0) as worker:
        short, long = await system.submit("sleeps", {"s": 0.5}), await system.submit("sleeps", {"s": 30})
        for job in (short, long):
            await system.until(job, lambda job: job.started_at is not None)
        worker.drain()
    assert system.exit_code == 0
    assert (await system.broker.get(short.id)).result == "0.5"
    released = await system.broker.get(long.id)
    assert (released.state, released.attempt, released.retries_used, released.deaths) == (State.PENDING, 1, 0, 0)
    assert [worker.id for worker in await system.broker.workers()] == []
