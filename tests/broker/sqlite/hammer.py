"""What the processes of test_hammer do: submit jobs under fixed ids, or claim and settle them, until killed.

Each tells on its standard output what the broker has acknowledged to it, one line each.
"""

import asyncio
import random
import sys

from pumasi.broker import connect
from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Held, Job, Lease, Retry, Worker
from pumasi.core.outcome import Completed, Failed, Outcome, Released
from pumasi.errors import LeaseLost, QueueFull


async def submit(broker: Broker, name: str, n: int) -> None:
    """Submit `n` jobs, some alone and some together; the same ones whenever it is run."""
    jobs = [
        Job(id=f"{name}-{i:03}", script="s", priority=i % 3, retry=Retry(max_attempts=2, delay=0.01)) for i in range(n)
    ]
    while jobs:
        batch, jobs = jobs[:5], jobs[5:]
        try:
            done = await broker.submit(batch)
        except QueueFull:
            jobs = batch + jobs
            await broker.hint("changes", timeout=0.05)
            continue
        print(*(f"submitted {job.id}" for job in done), sep="\n", flush=True)


async def work(broker: Broker, name: str) -> None:
    """Claim and settle, for ever; every run ends in its own way."""
    chance = random.Random(name)
    while True:
        for lease in await broker.claim(name, ["default"], 4, 1 << 40, 5.0):
            held = Held(lease.id, lease.token, started=True)
            if await broker.heartbeat(Worker(id=name), [held]):
                continue
            await settle(broker, lease, chance.random())


async def settle(broker: Broker, lease: Lease, chance: float) -> None:
    outcome: Outcome = Completed(result=f'"{lease.token}"')
    if chance < 0.1:
        outcome = Released()
    elif chance < 0.2:
        outcome = Failed(cause=Cause.EXIT, error=lease.token)
    try:
        job = await broker.settle(lease, outcome)
    except LeaseLost:
        return
    if job.ended:
        print(f"ended {job.id} {job.state} {lease.token}", flush=True)


async def main(url: str, role: str, name: str) -> None:
    async with connect(url) as broker:
        await (work(broker, name) if role == "work" else submit(broker, name, 60))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
