"""A script may start Chromium, which builds a sandbox of its own inside ours; nothing of it outlives the job."""

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from pumasi.core.job import Cause, State
from pumasi.errors import BadSetting
from pumasi.sandbox.uids import BLOCK, RANGE
from pumasi.worker import Worker
from tests.harness import System

JOBS = 50
#: how one job after another goes, a third each: it crashes, or its browser with it; it hangs; it finishes
WAYS = ("crash", "hang", "render", "kill", "hang", "render")
CAUSES = {"crash": Cause.EXIT, "kill": Cause.EXIT, "hang": Cause.TIMEOUT, "render": None}
PAGE = "<title>x</title><script>document.title = 'made ' + 6 * 7</script>"
SCRIPT = """
import os, subprocess, sys, time

def chromium(*words):
    return subprocess.Popen([os.environ["CHROME_PATH"], "--headless", "--disable-gpu", *words], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)

def nested():
    '''How many processes are in a user namespace that is not ours.'''
    own, found = os.readlink("/proc/self/ns/user"), 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: found += os.readlink(f"/proc/{pid}/ns/user") != own
        except OSError: pass
    return found

def main(what="render", url="file:///home/script/work/page.html"):
    if what == "render":
        out, err = chromium("--dump-dom", url).communicate()
        return "made 42" in out or err
    browser = chromium("--remote-debugging-port=0", url)
    while not nested(): time.sleep(0.01)
    if what == "hang": time.sleep(600)
    if what == "kill": os.kill(browser.pid, 9)
    if what in ("kill", "crash"): os._exit(9)
    return nested()
"""


class Browsing(NamedTuple):
    """A system with the script above, and its worker."""

    system: System
    worker: Worker


@pytest.fixture(params=["full", "unprivileged"])
async def browsing(request: pytest.FixtureRequest, system: System) -> AsyncIterator["Browsing"]:
    if shutil.which("chromium") is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed: apt-get install chromium")
    system.script("web/pumasi.toml", "browser = true")
    system.script("web/page.html", PAGE)
    system.script("web/main.py", SCRIPT)
    try:
        async with system.working(isolation=request.param, slots=2) as worker:
            yield Browsing(system, worker)
    except BadSetting as error:
        pytest.skip(str(error))


def left(worker: Worker) -> set[str]:
    """Processes of the worker's jobs, and files of theirs in the folders that all share."""
    uids = worker._templates.host.uids
    assert uids is not None
    jobs = {uids._base + block + 2 + 2 * slot for block in range(0, RANGE, BLOCK) for slot in range(BLOCK // 2 - 1)}
    there = {f"process {process.pid}" for process in psutil.process_iter(["uids"]) if process.info["uids"].real in jobs}
    for folder in ("/tmp", "/dev/shm", "/var/tmp"):
        there |= {str(path) for path in Path(folder).iterdir() if path.lstat().st_uid in jobs}
    return there


async def test_a_page_is_rendered_and_the_record_says_what_is_open(browsing: Browsing) -> None:
    job = await browsing.system.run("web")
    assert (job.state, job.result) == (State.COMPLETED, "true"), job.result or job.error
    assert "user-namespaces" in job.openings


async def test_its_own_sandbox_is_on(browsing: Browsing) -> None:
    job = await browsing.system.run("web", {"what": "count"})
    assert job.state is State.COMPLETED, job.error
    assert int(job.result or 0) >= 1


async def test_a_page_of_a_server(browsing: Browsing) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # a browser also opens connections that it then asks nothing of
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE.encode())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        job = await browsing.system.run("web", {"url": f"http://127.0.0.1:{port}/"})
    assert job.result == "true", job.result or job.error


@pytest.mark.timeout(200)
@pytest.mark.parametrize("browsing", ["full"], indirect=True)
async def test_fifty_jobs_that_crash_hang_or_finish_leave_nothing(browsing: Browsing) -> None:
    system, jobs = browsing.system, []
    for what in itertools.islice(itertools.cycle(WAYS), JOBS):
        timeout = 1.5 if what == "hang" else 60.0
        jobs.append((what, await system.submit("web", {"what": what}, timeout=timeout)))
    for what, job in jobs:
        ended = await system.end(job, timeout=180.0)
        assert ended.cause is CAUSES[what], (what, ended.error)
        assert what != "render" or ended.result == "true", ended.result
    assert left(browsing.worker) == set()
    assert list((system.folder / "data" / "scratch").glob("*/*")) == []
    assert (await system.run("web")).result == "true"
