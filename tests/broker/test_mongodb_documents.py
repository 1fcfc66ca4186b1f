"""Documents of other programs: what they insert with any driver is run, and what they read is what they expect."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection

from pumasi.broker.mongodb import create_job, documents, outlet, runs
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import Cause, Held, Lease, QueueSettings, Record, Retry, State, Worker
from pumasi.core.outcome import Cancelled, Completed, Failed, Released, Report
from pumasi.errors import Invalid, LeaseLost, Unavailable
from tests.broker.conformance.base import MIB, START, Clock, a_job, claims, submitted
from tests.broker.test_mongodb import handle
from tests.servers.mongodb import Databases, mongo_databases, mongo_server, mongo_url

__all__ = ["mongo_databases", "mongo_server", "mongo_url"]

ISO = r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00\]"
Connect = Callable[..., Awaitable[StoreBroker]]
Documents = Collection[dict[str, Any]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def connect(clock: Clock, mongo_url: str):
    """Opens handles, as other processes would have them."""
    opened = []

    async def connected(**settings: float) -> StoreBroker:
        broker = handle(clock, mongo_url, **settings)
        await broker.open()
        opened.append(broker)
        return broker

    yield connected
    for broker in opened:
        await broker.close()


@pytest.fixture
async def broker(connect: Connect) -> StoreBroker:
    return await connect()


@pytest.fixture
def jobs(mongo_url: str) -> Iterator[Documents]:
    """The collection, as another program sees it."""
    with MongoClient(mongo_url, tz_aware=True) as client:
        yield client.get_default_database()["jobs"]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def moment(date: datetime | str) -> float:
    """The time of a date that an update has set; the emulator makes a text of it."""
    date = datetime.fromisoformat(date) if isinstance(date, str) else date
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def put(jobs: Documents, **values: Any) -> Any:
    """Insert a document by hand; its id."""
    document = {
        "request_name": "nightly",
        "status": "pending",
        "created_at": at(START),
        "updated_at": at(START),
        "scheduled_date": at(START),
        "python_path": "/srv/scripts/report.py",
        "python_args": ["--day", "오늘"],
        "required_memory": 128,
        "logs": [],
    } | values
    return jobs.insert_one({name: value for name, value in document.items() if value is not ...}).inserted_id


def seen(jobs: Documents, id: Any) -> dict[str, Any]:
    """The document, as another program reads it."""
    found = jobs.find_one({"_id": id})
    assert found is not None
    return found


async def taken(broker: StoreBroker, slots: int = 1, **values: Any) -> list[Lease]:
    return await claims(broker, slots, **({"queues": ["default", "mongo"]} | values))


async def printed(broker: StoreBroker, lease: Lease, stdout: bytes = b"", stderr: bytes = b"") -> None:
    first = lease.job.attempt << 32
    pieces = [("stdout", stdout), ("stderr", stderr)]
    records = [Record(first + n, START, stream, data) for n, (stream, data) in enumerate(pieces, 1) if data]
    await broker.append(lease, records)


def failure(code: int = 3, **values: Any) -> Failed:
    given = {"cause": Cause.EXIT, "error": f"exit code {code}", "report": Report(exit_code=code)}
    return Failed(**(given | values))


async def mended(broker: StoreBroker) -> None:
    """A sweep that looks after documents, however long ago the last one did."""
    (await broker.store._connection.here()).mended = float("-inf")  # type: ignore[attr-defined]
    await broker.sweep()


# -- from inserted to ended ---------------------------------------------------------------------------------------


async def test_a_document_is_run(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    await broker.heartbeat(Worker(id="w1", pid=4711), [])
    (lease,) = await taken(broker)
    job = lease.job
    assert (job.script, job.args, job.queue) == ("/srv/scripts/report.py", ("--day", "오늘"), "mongo")
    assert (job.digest, job.timeout, job.retry.max_attempts, job.result_mode) == (None, None, 1, "none")
    assert (job.id, job.external_id, job.labels) == (str(id), str(id), {"request_name": "nightly"})
    running = seen(jobs, id)
    assert (running["status"], running["updated_at"] > at(START)) == ("running", True)
    assert re.fullmatch(ISO + r" Job picked up by worker \(PID: 4711\)\.", running["logs"][-1])
    assert running["pumasi"]["token"] == lease.token

    await printed(broker, lease, "됐다\n".encode(), b"a warning\n")
    await broker.settle(lease, Completed())
    done = seen(jobs, id)
    assert (done["status"], len(done["logs"]), done["error"]) == ("completed", 2, None)
    assert done["completed_at"] == done["updated_at"] >= running["updated_at"]
    line = ISO + r" 작업 성공\.\n--- STDOUT ---\n됐다\n\n--- STDERR ---\na warning\n"
    assert re.fullmatch(line, done["logs"][-1])
    assert done["python_args"] == ["--day", "오늘"]
    assert (await broker.get(str(id))).state is State.COMPLETED


async def test_a_failure_has_its_code_and_standard_error(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    await printed(broker, lease, b"out", b"Traceback\n")
    await broker.settle(lease, failure())
    document = seen(jobs, id)
    assert (document["status"], document["error"]) == ("failed", "Traceback")
    line = ISO + r" 작업 실패 \(Exit Code: 3\)\.\n--- STDOUT ---\nout\n--- STDERR ---\nTraceback\n"
    assert re.fullmatch(line, document["logs"][-1])


async def test_an_error_is_a_sentence_when_nothing_was_printed(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    await broker.settle(lease, failure())
    assert seen(jobs, id)["error"] == "exit code 3"


async def test_what_did_not_end_by_itself_says_why(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    await printed(broker, lease, b"", b"half a line")
    await broker.settle(lease, Failed(cause=Cause.TIMEOUT, error="timeout after 5 s", report=Report(signal=9)))
    document = seen(jobs, id)
    assert document["error"] == "timeout after 5 s\nhalf a line"
    assert "(Exit Code: -9)" in document["logs"][-1]
    assert document["logs"][-1].endswith("--- STDERR ---\ntimeout after 5 s\nhalf a line")


@pytest.mark.parametrize("key", [7, "a name", "a/b.$c", ObjectId("0123456789abcdef01234567"), 1.5])
async def test_its_id_is_of_any_type(broker: StoreBroker, jobs: Documents, key: Any) -> None:
    put(jobs, _id=key)
    (lease,) = await taken(broker)
    await broker.settle(lease, Completed())
    assert seen(jobs, key)["status"] == "completed"
    assert (await broker.get(lease.id)).external_id == str(key)


async def test_little_is_needed(broker: StoreBroker, jobs: Documents) -> None:
    id = jobs.insert_one({"status": "pending", "python_path": "/a.py"}).inserted_id
    (lease,) = await taken(broker)
    assert (lease.job.args, lease.job.required_memory) == ((), 128 * MIB)
    await broker.settle(lease, Completed())
    assert len(seen(jobs, id)["logs"]) == 2


async def test_the_index_exists(broker: StoreBroker, jobs: Documents) -> None:
    keys = [list(dict(index["key"]).items()) for index in jobs.list_indexes()]
    assert [("status", 1), ("scheduled_date", 1)] in keys


# -- which, and when ----------------------------------------------------------------------------------------------


async def test_not_before_its_date(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    id = put(jobs, scheduled_date=at(START + 60))
    assert await taken(broker) == []
    assert seen(jobs, id)["status"] == "pending"
    clock.advance(60)
    assert [lease.id for lease in await taken(broker)] == [str(id)]


async def test_a_claim_wakes_when_one_falls_due(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    put(jobs, scheduled_date=at(START + 0.3))
    waiting = asyncio.create_task(taken(broker, wait=60))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    clock.advance(0.3)
    async with asyncio.timeout(5):
        assert len(await waiting) == 1


async def test_the_oldest_first(broker: StoreBroker, jobs: Documents) -> None:
    ids = [put(jobs, created_at=at(START - age), scheduled_date=at(START - 1)) for age in (10, 30, 20)]
    order = [lease.id for _ in ids for lease in await taken(broker)]
    assert order == [str(ids[1]), str(ids[2]), str(ids[0])]


async def test_only_where_its_memory_is_free(broker: StoreBroker, jobs: Documents) -> None:
    large = put(jobs, required_memory=1024, created_at=at(START - 9))
    small, untold = put(jobs, required_memory=100), put(jobs, required_memory=...)
    assert [lease.id for lease in await taken(broker, 9, memory=200 * MIB)] == [str(small)]
    assert [lease.id for lease in await taken(broker, 9, memory=127 * MIB)] == []
    assert [lease.id for lease in await taken(broker, 9, memory=128 * MIB)] == [str(untold)]
    assert [lease.id for lease in await taken(broker, 9, memory=1024 * MIB)] == [str(large)]


async def test_only_for_those_who_serve_the_queue(broker: StoreBroker, jobs: Documents) -> None:
    put(jobs)
    assert broker.inlets == ("mongo",)
    assert await claims(broker, queues=["default"]) == []
    await broker.set_queue("mongo", QueueSettings(paused=True))
    assert await taken(broker) == []
    await broker.set_queue("mongo", QueueSettings(paused=False))
    assert len(await taken(broker)) == 1


async def test_with_others_in_their_order(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    await submitted(broker, "first", queue="mongo")
    clock.advance(1)
    id = put(jobs, scheduled_date=at(START + 1), created_at=at(START + 1))
    clock.advance(1)
    await submitted(broker, "last")
    await submitted(broker, "urgent", priority=5)
    order = [lease.id for _ in range(4) for lease in await taken(broker)]
    assert order == ["urgent", "first", str(id), "last"]


async def test_several_at_once_share_slots_and_memory(broker: StoreBroker, jobs: Documents) -> None:
    for _ in range(3):
        put(jobs, required_memory=100, created_at=at(START - 5), scheduled_date=at(START - 5))
    await broker.submit([a_job(required_memory=100 * MIB) for _ in range(3)])
    assert len(await taken(broker, 5, memory=400 * MIB)) == 4
    assert len(await taken(broker, 9)) == 2


async def test_it_counts_as_waiting(broker: StoreBroker, jobs: Documents) -> None:
    ids = [put(jobs) for _ in range(3)]
    assert (await broker.get(str(ids[0]))).state is State.PENDING
    await taken(broker)
    (queue,) = await broker.queues()
    assert (queue.name, queue.pending, queue.running) == ("mongo", 2, 1)


# -- other programs -----------------------------------------------------------------------------------------------


async def test_ours_are_not_where_others_claim(broker: StoreBroker, jobs: Documents) -> None:
    await submitted(broker, "a", queue="mongo")
    assert jobs.count_documents({}) == 0


async def test_what_another_program_runs_is_left_alone(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    id = put(jobs, status="running")
    clock.advance(3600)
    await mended(broker)
    assert await taken(broker) == []
    assert seen(jobs, id)["status"] == "running"


async def test_nobody_else_gets_one_that_we_have(connect: Connect, jobs: Documents) -> None:
    """Another program claims as we do; some of us side by side."""
    brokers = [await connect(), await connect()]
    ids = [put(jobs) for _ in range(30)]

    def theirs() -> list[Any]:
        got = []
        while found := jobs.find_one_and_update({"status": "pending"}, {"$set": {"status": "running"}}):
            got.append(found["_id"])
        return got

    async def ours(n: int) -> list[str]:
        got: list[str] = []
        while leases := await taken(brokers[n % 2], 2, worker=f"w{n}"):
            got += [lease.id for lease in leases]
        return got

    others, *mine = await asyncio.gather(asyncio.to_thread(theirs), *(ours(n) for n in range(4)))
    all_of_them = [str(id) for id in others] + [id for got in mine for id in got]
    assert sorted(all_of_them) == sorted(map(str, ids))


async def test_a_retry_that_another_program_takes_is_theirs(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs, max_attempts=3)
    (lease,) = await taken(broker)
    await broker.settle(lease, failure())
    jobs.update_one({"_id": id}, {"$set": {"status": "running"}})
    await broker.sweep()
    job = await broker.get(str(id))
    assert (job.state, seen(jobs, id)["status"]) == (State.CANCELLED, "running")


async def test_a_removed_document_takes_its_waiting_job_along(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    assert (await broker.get(str(id))).state is State.PENDING
    jobs.delete_one({"_id": id})
    await broker.sweep()
    job = await broker.get(str(id))
    assert (job.state, (job.error or "").startswith("cancelled")) == (State.CANCELLED, True)


async def test_removed_while_it_runs(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    jobs.delete_one({"_id": id})
    assert (await broker.settle(lease, Completed())).state is State.COMPLETED
    await mended(broker)
    assert jobs.count_documents({}) == 0


async def test_set_to_pending_while_it_runs_it_is_not_run_twice(connect: Connect, jobs: Documents) -> None:
    here, there = await connect(), await connect()
    id = put(jobs)
    (lease,) = await taken(here)
    jobs.update_one({"_id": id}, {"$set": {"status": "pending"}, "$unset": {"pumasi": ""}})
    assert await taken(there, worker="w2") == []
    assert seen(jobs, id)["pumasi"]["token"] == lease.token
    await here.settle(lease, Completed())
    assert seen(jobs, id)["status"] == "completed"


@pytest.mark.parametrize("wiped", [False, True])
async def test_set_to_pending_again_it_is_another_job(broker: StoreBroker, jobs: Documents, wiped: bool) -> None:
    id = put(jobs)
    for attempt in range(3):
        (lease,) = await taken(broker)
        assert lease.id == (f"{id}-{attempt + 1}" if attempt else str(id))
        await broker.settle(lease, failure() if attempt == 0 else Completed())
        change = {"$unset": {"pumasi": ""}} if wiped else {}
        jobs.update_one({"_id": id}, {"$set": {"status": "pending"}, **change})
    assert (await broker.get(str(id))).state is State.FAILED
    assert (await broker.get(f"{id}-2")).state is State.COMPLETED


async def test_documents_of_others_are_never_removed(connect: Connect, jobs: Documents, clock: Clock) -> None:
    broker = await connect(retention=10)
    put(jobs)
    (lease,) = await taken(broker)
    await broker.settle(lease, Completed())
    clock.advance(3600)
    await broker.sweep()
    await mended(broker)
    assert await broker.queues() == []
    assert [document["status"] for document in jobs.find()] == ["completed"]


# -- tries --------------------------------------------------------------------------------------------------------


async def test_a_retry_moves_its_date(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    id = put(jobs, max_attempts=2, timeout=90)
    (lease,) = await taken(broker)
    assert (lease.job.timeout, lease.job.retry) == (90.0, Retry(max_attempts=2))
    broker._chance = lambda: 1.0
    await printed(broker, lease, b"first try")
    await broker.settle(lease, failure())
    waiting = seen(jobs, id)
    assert (waiting["status"], moment(waiting["scheduled_date"]) > START) == ("pending", True)
    assert "first try" in waiting["logs"][-1]
    clock.advance(5)
    (again,) = await taken(broker)
    assert (again.id, again.job.attempt) == (str(id), 2)
    await printed(broker, again, b"second try")
    await broker.settle(again, failure())
    ended = seen(jobs, id)
    assert (ended["status"], len(ended["logs"])) == ("failed", 4)
    assert "second try" in ended["logs"][-1]
    assert "first try" not in ended["logs"][-1]


async def test_a_release_leaves_it_in_its_place(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    await broker.settle(lease, Released())
    waiting = seen(jobs, id)
    assert (waiting["status"], waiting["scheduled_date"], len(waiting["logs"])) == ("pending", at(START), 1)
    (again,) = await taken(broker)
    assert (again.id, again.job.attempt) == (str(id), 2)


async def test_cancelled_while_it_runs(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    await broker.cancel(str(id))
    assert seen(jobs, id)["status"] == "running"
    await broker.settle(lease, Cancelled())
    document = seen(jobs, id)
    assert (document["status"], document["error"].startswith("cancelled")) == ("failed", True)


async def test_cancelled_while_it_waits(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    await broker.cancel(str(id))
    document = seen(jobs, id)
    assert (document["status"], document["error"].startswith("cancelled")) == ("failed", True)
    assert await taken(broker) == []


# -- deaths -------------------------------------------------------------------------------------------------------


async def test_after_the_death_of_its_worker_it_is_run_again(connect: Connect, jobs: Documents, clock: Clock) -> None:
    here, there = await connect(), await connect()
    id = put(jobs)
    (lease,) = await taken(here)
    clock.advance(20)
    assert await here.heartbeat(Worker(id="w1"), [Held(lease.id, lease.token, started=True)]) == []
    assert seen(jobs, id)["pumasi"]["lease_until"] == START + 50
    clock.advance(20)
    assert await taken(there, worker="w2") == []
    clock.advance(20)
    (again,) = await taken(there, worker="w2")
    assert (again.id, again.job.attempt, again.job.deaths) == (str(id), 2, 1)
    with pytest.raises(LeaseLost):
        await here.settle(lease, Completed())
    assert seen(jobs, id)["status"] == "running"
    await there.settle(again, Completed())
    assert seen(jobs, id)["status"] == "completed"


async def test_three_deaths_are_an_ending(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    id = put(jobs)
    for _ in range(3):
        (lease,) = await taken(broker)
        await broker.heartbeat(Worker(id="w1"), [Held(lease.id, lease.token, started=True)])
        clock.advance(40)
    assert await taken(broker) == []
    document = seen(jobs, id)
    assert (document["status"], document["error"].startswith("lost")) == ("failed", True)


def dies(*_: object, **__: object) -> Any:
    raise Unavailable("gone")


async def test_dead_before_there_is_a_record(
    broker: StoreBroker, jobs: Documents, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = put(jobs)
    with monkeypatch.context() as patch:
        patch.setattr(documents, "insert", dies)
        with pytest.raises(Unavailable):
            await taken(broker)
    assert seen(jobs, id)["status"] == "running"
    await mended(broker)
    assert await taken(broker) == []
    clock.advance(31)
    await mended(broker)
    (lease,) = await taken(broker)
    assert (lease.id, lease.job.attempt) == (str(id), 2)
    await broker.settle(lease, Completed())
    assert seen(jobs, id)["status"] == "completed"


async def nothing(*_: object) -> None:
    """In place of a step that was not taken."""


@pytest.mark.parametrize("how", ["completed", "retry", "cancelled"])
async def test_dead_before_the_document_was_told(
    broker: StoreBroker, jobs: Documents, clock: Clock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    id = put(jobs, max_attempts=2)
    (lease,) = await taken(broker)
    with monkeypatch.context() as patch:
        patch.setattr(outlet, "tell_one", nothing)
        if how == "cancelled":
            await broker.settle(lease, Released())
            await broker.cancel(lease.id)
        else:
            await broker.settle(lease, Completed() if how == "completed" else failure())
    assert seen(jobs, id)["status"] == "running"
    assert await taken(broker) == []
    await mended(broker)
    assert seen(jobs, id)["status"] == {"completed": "completed", "retry": "pending", "cancelled": "failed"}[how]
    clock.advance(60)
    assert len(await taken(broker)) == (1 if how == "retry" else 0)


async def test_cancelled_before_the_document_was_told_it_is_not_run(
    broker: StoreBroker, jobs: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = put(jobs)
    with monkeypatch.context() as patch:
        patch.setattr(outlet, "tell_one", nothing)
        await broker.cancel(str(id))
    assert seen(jobs, id)["status"] == "pending"
    assert await taken(broker) == []
    assert seen(jobs, id)["status"] == "failed"


async def test_a_lease_that_its_document_does_not_know_of(
    broker: StoreBroker, jobs: Documents, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    clock.advance(20)
    with monkeypatch.context() as patch:
        patch.setattr(runs.outlet, "prolong", nothing)
        await broker.heartbeat(Worker(id="w1"), [Held(lease.id, lease.token)])
    clock.advance(20)
    await mended(broker)
    assert seen(jobs, id)["pumasi"]["lease_until"] == START + 50
    assert await taken(broker) == []


async def test_telling_twice_changes_nothing(broker: StoreBroker, jobs: Documents) -> None:
    id = put(jobs)
    (lease,) = await taken(broker)
    await broker.settle(lease, Completed())
    before = seen(jobs, id)
    await broker.settle(lease, Completed())
    await outlet.tell_one(await broker.store._connection.here(), lease.id)  # type: ignore[attr-defined]
    assert seen(jobs, id) == before


# -- what cannot be run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("python_path", ...),
        ("python_path", 5),
        ("python_path", " "),
        ("python_path", "/a\0b"),
        ("python_args", "--day"),
        ("python_args", [1]),
        ("required_memory", "lots"),
        ("required_memory", -1),
        ("required_memory", 2**62),
        ("required_memory", True),
        ("timeout", 0),
        ("timeout", "soon"),
        ("max_attempts", 0),
        ("max_attempts", 1.5),
        ("scheduled_date", "tomorrow"),
        ("scheduled_date", 17),
        ("created_at", "yesterday"),
    ],
)
async def test_what_cannot_be_run_is_failed_and_says_why(
    broker: StoreBroker, jobs: Documents, field: str, value: Any
) -> None:
    id = put(jobs, **{field: value}, mine="kept")
    good = put(jobs, created_at=at(START - 5))
    assert [lease.id for lease in await taken(broker, 9)] == [str(good)]
    assert await taken(broker, 9) == []
    document = seen(jobs, id)
    assert (document["status"], document["mine"]) == ("failed", "kept")
    assert field in document["error"]
    assert re.match(ISO + r" 작업 실패 \(Exit Code: -1\)\.\n--- STDOUT ---\n\n--- STDERR ---\n", document["logs"][-1])
    assert document.get(field, ...) == value


async def test_another_job_with_its_id(broker: StoreBroker, jobs: Documents) -> None:
    key = ObjectId()
    await submitted(broker, str(key))
    put(jobs, _id=key)
    assert await taken(broker, queues=["mongo"]) == []
    assert (seen(jobs, key)["status"], seen(jobs, key)["error"]) == ("failed", f"another job has the id {key}")


@pytest.mark.parametrize("logs", [..., None, "a text", 5])
async def test_logs_that_are_no_list(broker: StoreBroker, jobs: Documents, logs: Any) -> None:
    if logs == "a text" and "topologyVersion" not in jobs.database.client.admin.command("hello"):
        pytest.skip("the emulator neither pushes to a text nor says so; TEST_MONGODB_URI names a real server")
    id = put(jobs, logs=logs)
    (lease,) = await taken(broker)
    await broker.settle(lease, Completed())
    assert seen(jobs, id)["logs"][:-2] == ([] if logs in (None, ...) else [logs])


@pytest.mark.parametrize("pumasi", ["text", 5, [], {}, {"ended": "x", "attempt": "y", "job": 5}])
async def test_what_looks_like_ours_and_is_not(broker: StoreBroker, jobs: Documents, pumasi: Any) -> None:
    id = put(jobs, pumasi=pumasi)
    other = put(jobs, pumasi=pumasi, status="running")
    (lease,) = await taken(broker)
    await broker.settle(lease, Completed())
    await mended(broker)
    assert (seen(jobs, id)["status"], seen(jobs, other)["status"]) == ("completed", "running")


@pytest.mark.parametrize("size", [0, 7 * MIB, 9 * MIB])
async def test_a_document_stays_bounded(broker: StoreBroker, jobs: Documents, size: int) -> None:
    id = put(jobs, mine="x" * size)
    (lease,) = await taken(broker)
    for n in range(1, 5):
        data = b"\xff" * 200_000 + b"end"
        await broker.append(lease, [Record((1 << 32) + n, START, "stdout" if n % 2 else "stderr", data)])
    await broker.settle(lease, failure())
    document = seen(jobs, id)
    assert document["status"] == "failed"
    assert document["logs"][-1].endswith("end")
    assert "the middle is left out" in document["logs"][-1]
    assert len(bson.encode(document)) <= max(8 * MIB, size + 8 * 1024)


# -- made by us ---------------------------------------------------------------------------------------------------


async def test_one_is_made_as_others_do(broker: StoreBroker, jobs: Documents) -> None:
    id = await create_job(broker, "nightly", "/a.py", ["x"], scheduled_date=at(START - 60))
    document = seen(jobs, ObjectId(id))
    assert list(document) == [
        "_id", "request_name", "status", "created_at", "updated_at", "scheduled_date", "python_path", "python_args",
        "required_memory", "logs",
    ]  # fmt: skip
    assert (document["status"], document["required_memory"], document["logs"]) == ("pending", 128, [])
    assert document["scheduled_date"] == at(START - 60)
    job = await broker.get(id)
    assert (job.state, job.script, job.run_at) == (State.PENDING, "/a.py", START - 60)
    waiting = asyncio.create_task(broker.wait(id, 5))
    (lease,) = await taken(broker)
    await broker.settle(lease, Completed())
    assert (await waiting).state is State.COMPLETED


async def test_a_waiting_claim_hears_of_it(connect: Connect) -> None:
    here, there = await connect(), await connect()
    waiting = asyncio.create_task(taken(here, wait=60))
    await asyncio.wait([waiting], timeout=0.1)
    id = await create_job(there, "nightly", "/a.py", [])
    async with asyncio.timeout(5):
        assert [lease.id for lease in await waiting] == [id]


async def test_a_time_without_offset_is_of_this_host(broker: StoreBroker, jobs: Documents) -> None:
    naive = datetime.fromtimestamp(START + 60)  # noqa: DTZ006
    id = await create_job(broker, "nightly", "/a.py", [], scheduled_date=naive)
    assert seen(jobs, ObjectId(id))["scheduled_date"] == at(START + 60)


@pytest.mark.parametrize(
    "values",
    [
        {"python_path": ""},
        {"python_args": "x"},
        {"python_args": [1]},
        {"required_memory": -1},
        {"scheduled_date": "tomorrow"},
        {"request_name": None},
        {"python_args": ["x" * (9 * MIB)]},
    ],
)
async def test_one_that_cannot_be_run_is_not_made(broker: StoreBroker, jobs: Documents, values: Any) -> None:
    asked = {"request_name": "nightly", "python_path": "/a.py", "python_args": []} | values
    with pytest.raises(Invalid):
        await create_job(broker, **asked)
    assert jobs.count_documents({}) == 0


async def test_its_collection_can_be_another(clock: Clock, mongo_databases: Databases) -> None:
    url = mongo_databases.fresh()
    broker = handle(clock, url + ("&" if "?" in url else "?") + "collection=tasks")
    async with broker:
        await create_job(broker, "nightly", "/a.py", [])
        assert len(await taken(broker)) == 1
    with MongoClient(url) as client:
        assert client.get_default_database()["tasks"].count_documents({"status": "running"}) == 1


async def test_an_iso_text_is_a_date_in_utc(broker: StoreBroker, jobs: Documents, clock: Clock) -> None:
    late = put(jobs, scheduled_date=at(START + 3600).isoformat())
    soon = put(jobs, scheduled_date=at(START + 20).replace(tzinfo=None).isoformat())
    good = put(jobs)
    assert [lease.id for lease in await taken(broker, 9)] == [str(good)]
    clock.advance(20)
    assert [lease.id for lease in await taken(broker, 9)] == [str(soon)]
    assert seen(jobs, late)["status"] == "pending"


async def test_dates_beyond_python_wait(broker: StoreBroker, jobs: Documents) -> None:
    put(jobs, scheduled_date=at(START) + timedelta(days=365 * 7000))
    good = put(jobs)
    assert [lease.id for lease in await taken(broker, 9)] == [str(good)]
