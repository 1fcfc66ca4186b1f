"""What a worker does beside running jobs: which queues it serves, how many jobs it takes on."""

from pumasi.core.job import State
from tests.harness import System


async def test_a_pattern_stands_for_the_queues_that_are_known(system: System) -> None:
    system.script("one.py", "def main(): return 1")
    wanted = [await system.submit("one", queue=name) for name in ("shop-de", "shop-kr")]
    other = await system.submit("one", queue="reports")
    async with system.working(queues=("shop-*",), poll_interval=0.05):
        for job in wanted:
            assert (await system.end(job)).state is State.COMPLETED
        late = await system.submit("one", queue="shop-us")
        assert (await system.end(late)).state is State.COMPLETED
    assert (await system.broker.get(other.id)).state is State.PENDING


async def test_a_job_that_needs_more_memory_than_the_worker_may_use_waits_and_stops_nobody(system: System) -> None:
    system.script("one.py", "def main(): return 1")
    large = await system.submit("one", required_memory="1GB")
    small = await system.submit("one", required_memory="10MB")
    async with system.working(memory=100 * 1024 * 1024):
        assert (await system.end(small)).state is State.COMPLETED
    assert (await system.broker.get(large.id)).state is State.PENDING


async def test_a_drain_does_not_wait_for_a_slot_to_come_free(system: System) -> None:
    system.script("long.py", "import time\ntime.sleep(60)")
    job = await system.submit("long")
    async with system.working(slots=1, drain=0.2) as worker:
        await system.until(job, lambda job: job.started_at is not None)
        worker.drain()
    assert (await system.broker.get(job.id)).state is State.PENDING


async def test_a_worker_ends_by_itself_after_its_last_run(system: System) -> None:
    system.script("one.py", "def main(): return 1")
    jobs = [await system.submit("one") for _ in range(3)]
    async with system.working(max_runs=2, slots=4) as worker:
        for job in jobs[:2]:
            await system.end(job)
        assert worker.name
    assert system.exit_code == 0
    assert (await system.broker.get(jobs[2].id)).state is State.PENDING
