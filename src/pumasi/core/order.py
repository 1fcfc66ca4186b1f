"""The order in which waiting jobs are handed out.

Each queue offers its jobs in an order of its own: by level, due time, id. The level is the priority; in an ageing queue
it rises by one with each `ageing` seconds that a due job has waited. A fair queue, among its jobs of the highest level,
serves those that share it (`Job.share`) in turn: who has the fewest jobs running comes first, then who was served
longest ago. Of what the queues offer next, a claim takes the best by level, due time, id.
"""

from math import floor

from pumasi.core.job import Job

#: what a job may ask for; 9 is most urgent
PRIORITIES = range(10)

#: (-level, due time, id): less comes first
Place = tuple[int, float, str]


def level(priority: int, run_at: float, now: float, ageing: float | None) -> int:
    """The priority that a job has by now."""
    return priority + (floor(max(0.0, now - run_at) / ageing) if ageing else 0)


def place(job: Job, now: float, ageing: float | None) -> Place:
    """A job's place among others of its queue, fair shares aside, and among what other queues offer."""
    return -level(job.priority, job.run_at, now, ageing), job.run_at, job.id


def turn(place: Place, running: int, served: int) -> tuple[int, int, int, float, str]:
    """A job's place in a fair queue: its share has so many `running`, and was last `served` at that change (or 0)."""
    negative, run_at, id = place
    return negative, running, served, run_at, id
