"""Gateway and workers killed at random, over and over: every job that was accepted ends, and ends once."""

import asyncio
import random
import socket
import subprocess

import pytest

from pumasi.client import AsyncClient
from pumasi.core.job import Cause, Job, Query, State
from pumasi.errors import Unavailable
from tests.faults.site import Site, noting

JOBS, KILLS = 500, 12
TOKEN = "a-token-for-tests"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Victims:
    """Two workers and a gateway, each started again when it is killed."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site = site
        self._chance = chance
        self.port = free_port()
        self._running = [self._start(n) for n in range(3)]

    def kill_one(self) -> None:
        n = self._chance.randrange(len(self._running))
        self._running[n].kill()
        self._running[n].wait()
        self._running[n] = self._start(n)

    def _start(self, n: int) -> "subprocess.Popen[bytes]":
        if n == 0:
            return self._site.workers.start("gateway", "--port", str(self.port), PUMASI_TOKEN=TOKEN)
        return self._site.workers.worker("--slots", "4")


async def submit_all(client: AsyncClient) -> list[Job]:
    """As a careful caller does: under a key of its own each, again when nobody answered."""

    async def one(n: int) -> Job:
        while True:
            try:
                return await client.submit("quick", {"n": n}, idempotency_key=f"job {n}")
            except Unavailable:
                await asyncio.sleep(0.1)

    jobs: list[Job] = []
    for start in range(0, JOBS, 10):
        jobs += await asyncio.gather(*(one(n) for n in range(start, start + 10)))
    return jobs


async def observe(site: Site, endings: dict[str, Job]) -> None:
    """Every ending there is; one that was seen before must stand as it was."""
    cursor = None
    while True:
        ended = Query(states=(State.COMPLETED, State.FAILED, State.CANCELLED), cursor=cursor, limit=500)
        page = await site.system.broker.find(ended)
        for job in page.jobs:
            assert endings.setdefault(job.id, job) == job
        cursor = page.cursor
        if cursor is None:
            return


@pytest.mark.timeout(240)
async def test_five_hundred_jobs_while_everything_is_killed_at_random(site: Site) -> None:
    site.system.script("quick.py", noting(site, "def main(n):\n    note('ran', n)\n    return n"))
    chance = random.Random(20)
    victims = Victims(site, chance)
    endings: dict[str, Job] = {}
    async with asyncio.timeout(200), AsyncClient(f"http://127.0.0.1:{victims.port}", token=TOKEN) as client:
        submitting = asyncio.create_task(submit_all(client))
        kills = KILLS
        while len(endings) < JOBS:
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            if kills and chance.random() < 0.6:
                kills -= 1
                await asyncio.to_thread(victims.kill_one)
            await observe(site, endings)
            if submitting.done():
                submitting.result()
        jobs = await submitting
    by_id = {job.id: n for n, job in enumerate(jobs)}
    assert set(endings) == set(by_id)
    for id, job in endings.items():
        unlucky = (job.state, job.cause, job.deaths) == (State.FAILED, Cause.LOST, 3)
        assert unlucky or (job.state, job.result) == (State.COMPLETED, str(by_id[id])), job.error
    assert set(site.notes.of("ran")) == {str(n) for n in range(JOBS)}
