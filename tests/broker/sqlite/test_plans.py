"""What a claim, a submit and a search cost does not grow with the jobs that wait.

Counted in steps of SQLite's virtual machine, which depend on nothing but the data.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumasi.broker.sqlite import claims, jobs, keeping, search
from pumasi.broker.sqlite.database import QUERIES, Database
from pumasi.broker.store import Claim
from pumasi.core import lifecycle
from pumasi.core.job import Job, KeyLimit, Query, State
from pumasi.core.outcome import Completed
from tests.broker.conformance.base import START, a_job

FEW, MANY = 100, 8000


@pytest.fixture
def db(tmp_path: Path):
    db = Database(str(tmp_path / "pumasi.db"))
    db.connection.pragma("synchronous", "OFF")
    yield db
    db.close()


def steps(db: Database, act: Callable[[], Any]) -> int:
    """How many steps `act` takes."""
    count = 0

    def step() -> bool:
        nonlocal count
        count += 1
        return False

    db.connection.set_progress_handler(step, 1)
    try:
        act()
    finally:
        db.connection.set_progress_handler(None, 1)
    return count


def fill(db: Database, n: int, **values: Any) -> None:
    db.connection.execute("BEGIN")
    jobs.insert(db, [a_job(**values) for _ in range(n)], 10**9, START)
    db.connection.execute("COMMIT")


def take(db: Database, slots: int = 1, queues: tuple[str, ...] = ("default",), memory: int = 1 << 40) -> list[Job]:
    tokens = tuple(f"t{n}" for n in range(slots))
    claim = Claim(worker="w", queues=queues, slots=slots, memory=memory, claim_id="", lease=30.0, tokens=tokens)
    return list(claims.take(db, claim, START, calm=False).jobs)


def cycle(db: Database) -> None:
    """One job from beginning to end, beside those that wait."""
    jobs.insert(db, [a_job(priority=9)], 10**9, START)
    (job,) = take(db)
    after = lifecycle.settled(job, job.token or "", Completed(result="1"), START, 0.5)
    (stored,) = jobs.swap(db, [(job, after)], START, same_lease=False)
    assert stored is not None


BLOCKED = KeyLimit(key="k", concurrency=1)
CROWDS: dict[str, dict[str, Any]] = {
    "that wait": {},
    "not due": {"run_at": START + 1000},
    "under a blocked key": {"limit": BLOCKED, "priority": 8},
    "too large": {"required_memory": 1 << 41, "priority": 8},
    "in another queue": {"queue": "other"},
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_cycle_costs_the_same_beside_few_and_many(db: Database, crowd: str) -> None:
    if crowd == "under a blocked key":
        fill(db, 1, limit=BLOCKED)
        assert take(db)
    fill(db, FEW, **CROWDS[crowd])
    cycle(db)
    few = steps(db, lambda: cycle(db))
    fill(db, MANY, **CROWDS[crowd])
    cycle(db)
    many = steps(db, lambda: cycle(db))
    assert many < few * 1.2


def test_a_claim_costs_the_same_among_few_and_many_keys(db: Database) -> None:
    def domains(n: int) -> None:
        for domain in range(n):
            fill(db, 2, limit=KeyLimit(key=f"{domain}.example", concurrency=1))

    domains(20)
    few = steps(db, lambda: take(db))
    domains(600)
    many = steps(db, lambda: take(db))
    assert many < few * 1.5


def test_a_search_costs_the_same_among_few_and_many(db: Database) -> None:
    queries = {
        "newest": Query(limit=10),
        "by state": Query(limit=10, states=(State.RUNNING,)),
        "by script": Query(limit=10, script="rare"),
        "by queue": Query(limit=10, queue="rare"),
        "by script and state": Query(limit=10, script="rare", states=(State.PENDING,)),
        "by label": Query(limit=10, labels={"kind": "rare"}),
        "by parent": Query(limit=10, parent="rare"),
        "by prefix": Query(limit=10, prefix="rare-rare-"),
        "by id": Query(ids=("rare-rare-1",)),
        "latest changes": Query(changed_after=MANY + FEW - 3),
        "latest changes of a queue": Query(changed_after=MANY + FEW - 3, queue="default"),
        "of one by changes": Query(changed_after=0, ids=("rare-rare-1",)),
    }
    rare = {"script": "rare", "queue": "rare", "labels": {"kind": "rare"}, "parent": "rare"}
    db.connection.execute("BEGIN")
    jobs.insert(db, [a_job(f"rare-rare-{n}", **rare) for n in range(3)], 10**9, START)
    db.connection.execute("COMMIT")
    take(db, queues=("rare",))
    fill(db, FEW, labels={"kind": "common"})
    few = {name: steps(db, lambda query=query: search.scan(db, query)) for name, query in queries.items()}
    fill(db, MANY - 4, labels={"kind": "common"})
    many = {name: steps(db, lambda query=query: search.scan(db, query)) for name, query in queries.items()}
    assert {name for name in queries if many[name] > few[name] * 1.5 + 200} == set()


def test_looking_after_a_store_costs_the_same_beside_few_and_many(db: Database) -> None:
    def look_after() -> None:
        claims.lapsed(db, None, 500, None, START, calm=False)
        keeping.forget_jobs(db, State.COMPLETED, START - 1000)
        keeping.forget_rest(db, START - 1000, START - 1000, START - 1000)
        keeping.queues(db, START)
        db.all("counts")

    fill(db, FEW)
    few = steps(db, look_after)
    fill(db, MANY)
    assert steps(db, look_after) < few * 1.2


#: queries that look at all of a small table on purpose
WHOLE = {
    "settings", "workers", "tally", "counts", "position", "next_change", "forget_workers", "forget_rates", "waiting",
    "forget_tallies", "forget_starts", "doomed", "open_queues", "forget_served", "running_of_shares",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(QUERIES) - WHOLE))
def test_every_query_is_served_by_an_index(db: Database, name: str) -> None:
    values = dict.fromkeys(re.findall(r":([a-z_]+)", QUERIES[name]))
    end = " WHERE job.seq = 1" if name == "record" else ""
    plan = db.connection.execute(f"EXPLAIN QUERY PLAN {QUERIES[name]}{end}", values).fetchall()
    tables = "job|body|label|lane|start|rate|tally|log|blob|chunk|doomed|queue|worker"
    scans = [row[3] for row in plan if re.match(rf"SCAN ({tables})\b(?!.*INDEX lane_empty)", row[3])]
    assert scans == []
