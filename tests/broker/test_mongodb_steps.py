"""What takes several steps on MongoDB comes to its end, whoever dies between them; and what its driver says is ours."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bson.errors import InvalidDocument
from pymongo import errors

from pumasi.broker.mongodb import batches, claims, gates, keys, staging, winning
from pumasi.broker.mongodb.gate import translated
from pumasi.broker.mongodb.times import HELLO, OVER
from pumasi.broker.mongodb.times import Clock as ServerClock
from pumasi.broker.verbs import StoreBroker
from pumasi.core.job import Cause, KeyLimit, Query, QueueSettings, State
from pumasi.core.outcome import Completed, Failed
from pumasi.errors import Error, Invalid, Unavailable
from tests.broker.conformance.base import MIB, START, Clock, a_job, ids_of_claim, submitted
from tests.broker.conformance.base import claims as claimed
from tests.broker.test_mongodb import handle
from tests.servers.mongodb import mongo_databases, mongo_server, mongo_url

__all__ = ["mongo_databases", "mongo_server", "mongo_url"]

Connect = Callable[..., Awaitable[StoreBroker]]


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


async def dies(*_: object, **__: object) -> Any:
    raise Unavailable("gone")


async def nothing(*_: object, **__: object) -> Any:
    """In place of a step that was not taken."""


# -- several jobs, all or none ------------------------------------------------------------------------------------


async def test_dead_once_a_batch_was_accepted(connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = await connect(), await connect()
    jobs = [a_job("a", unique="u"), a_job("b", expires_at=START + 3600), a_job("c", run_at=START + 50)]
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_unstage", dies)
        with pytest.raises(Unavailable):
            await here.submit(jobs)
    assert (await there.find(Query())).jobs == ()
    clock.advance(OVER + 10)
    assert await ids_of_claim(there, 9) == []  # and the lanes are taken to be empty
    await there.sweep()
    assert await ids_of_claim(there, 9) == ["a", "b"]
    clock.advance(10)
    assert await ids_of_claim(there, 1) == ["c"]


async def test_an_accepted_job_is_never_unknown(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = await connect(), await connect()
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_unstage", dies)
        with pytest.raises(Unavailable):
            await here.submit([a_job("a"), a_job("b")])
    assert (await there.get("b")).state is State.PENDING
    assert len(await there.submit([a_job("a"), a_job("b")])) == 2
    assert await ids_of_claim(there, 9) == ["a", "b"]


async def test_dead_before_a_batch_was_accepted(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await connect(), await connect()
    jobs = [a_job("a", unique="u"), a_job("b", idempotency_key="i")]
    with monkeypatch.context() as patch:
        patch.setattr(staging, "accept", dies)
        with pytest.raises(Unavailable):
            await here.submit(jobs)
    assert await ids_of_claim(there, 9) == []
    clock.advance(OVER)
    await there.sweep()
    assert len(await there.submit(jobs)) == 2
    assert await ids_of_claim(there, 9) == ["a", "b"]


async def test_a_batch_that_was_given_up_is_not_accepted(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The submitter was stopped in between, and others have cleared up after it."""
    here, there = await connect(), await connect()
    accept = staging.accept

    async def late(*given: Any) -> bool:
        clock.advance(OVER)
        await there.sweep()
        return await accept(*given)

    monkeypatch.setattr(staging, "accept", late)
    with pytest.raises(Unavailable):
        await here.submit([a_job("a"), a_job("b")])
    assert (await there.find(Query())).jobs == ()


async def test_a_key_whose_job_never_came_is_taken_over(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await connect(), await connect()
    with monkeypatch.context() as patch:
        patch.setattr(batches, "_put_one", dies)
        patch.setattr(keys, "give_back", nothing)
        with pytest.raises(Unavailable):
            await here.submit([a_job("a", unique="u")])
    clock.advance(OVER)
    assert (await submitted(there, "b", unique="u")).id == "b"


# -- claims -------------------------------------------------------------------------------------------------------


async def test_no_two_leases_have_one_token(broker: StoreBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else is faster with the first job: its token is left over, and no other is used twice."""
    await broker.submit([a_job(f"j{n}") for n in range(6)])
    claim, lost = winning._claim, []

    async def slow(*given: Any) -> Any:
        if not lost:
            lost.append(given)
            return None
        return await claim(*given)

    monkeypatch.setattr(winning, "_claim", slow)
    leases = await claimed(broker, 4)
    assert len(leases) == len({lease.token for lease in leases}) == 4


async def test_dead_with_a_place_behind_a_gate(connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = await connect(), await connect()
    await here.submit([a_job(f"j{n}", limit=KeyLimit(key="k", concurrency=1)) for n in range(2)])
    with monkeypatch.context() as patch:
        patch.setattr(winning, "_claim", dies)
        with pytest.raises(Unavailable):
            await claimed(here)
    assert await ids_of_claim(there, 9) == []
    clock.advance(OVER)
    assert await ids_of_claim(there, 9) == ["j0"]


async def test_dead_before_a_place_was_confirmed(
    connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has started: a rate counts it."""
    here, there = await connect(lease=1000), await connect(lease=1000)
    limit = KeyLimit(key="k", count=1, period=100)
    await here.submit([a_job(f"j{n}", limit=limit) for n in range(2)])
    with monkeypatch.context() as patch:
        patch.setattr(gates, "confirm", dies)
        with pytest.raises(Unavailable):
            await claimed(here, claim_id="c")
    assert [lease.id for lease in await claimed(here, claim_id="c")] == ["j0"]
    clock.advance(99)
    assert await ids_of_claim(there, 9) == []
    clock.advance(1)
    assert await ids_of_claim(there, 9) == ["j1"]


async def test_turns_go_on_when_one_dies(connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = await connect(), await connect()
    await here.set_queue("default", QueueSettings(fair=True))
    await here.submit([a_job(f"{share}{n}", share=share) for n in range(2) for share in "ab"])
    with monkeypatch.context() as patch:
        patch.setattr(winning, "_claim", dies)
        with pytest.raises(Unavailable):
            await claimed(here)
    clock.advance(OVER)
    assert sorted(await ids_of_claim(there, 9)) == ["a0", "a1", "b0", "b1"]


async def test_what_was_seen_to_be_nothing_is_looked_at_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a failover the board may forget that something has changed."""
    here, there = await connect(), await connect()
    assert await claimed(there) == []
    database = await there.store._connection.here()  # type: ignore[attr-defined]
    before = await database.board._collection.find_one({"_id": "board"})
    await submitted(here, "a")
    await database.board.close()
    await database.board._collection.replace_one({"_id": "board"}, before)
    assert await claimed(there) == []
    monkeypatch.setattr(claims, "_QUIET", -1.0)
    assert await ids_of_claim(there) == ["a"]


# -- time ---------------------------------------------------------------------------------------------------------


def test_nothing_is_over_just_after_the_clock_was_set() -> None:
    steady = [0.0]
    clock = ServerClock(steady=lambda: steady[0])
    clock.heard(1000.0)
    assert clock.past() == 1000.0 - OVER
    steady[0] = 10.0
    clock.heard(4610.0)
    assert clock.past() == float("-inf")
    steady[0] += HELLO + OVER
    assert clock.past() == clock.now() - OVER
    clock.heard(clock.now() - 3600)
    assert clock.past() == clock.now() - OVER


# -- values -------------------------------------------------------------------------------------------------------


async def test_names_may_hold_what_mongodb_reads_in_names(broker: StoreBroker) -> None:
    labels = {"a.b": "$c", "$d": "e.f", "": "\0", "g": ""}
    limit = KeyLimit(key="$k.$[]", concurrency=1)
    queue, share = "$q.r", "s.$t"
    await broker.set_queue(queue, QueueSettings(fair=True))
    given = {"queue": queue, "share": share, "limit": limit, "script": "$x.y", "labels": labels}
    job = await submitted(broker, "$a.b", unique="$.u", **given)
    (lease,) = await claimed(broker, queues=[queue], worker="$w.x")
    assert (lease.job.labels, lease.job.share, lease.job.limit) == (labels, share, limit)
    assert [found.id for found in (await broker.find(Query(labels={"$d": "e.f"}, script="$x.y"))).jobs] == [job.id]
    done = await broker.settle(lease, Completed(result='{"$set": {"a.b": NaN}}'))
    assert (await broker.get(job.id)).result == done.result == '{"$set": {"a.b": NaN}}'
    await broker.put_blob("result/$a.b/1", b"x")
    assert await broker.list_blobs("result/$a") == {"result/$a.b/1": 1}


async def test_what_no_document_can_hold_is_invalid(broker: StoreBroker) -> None:
    await submitted(broker, "a")
    (lease,) = await claimed(broker)
    with pytest.raises(Invalid):
        await broker.settle(lease, Failed(cause=Cause.EXIT, error="x" * (17 * MIB)))
    assert (await broker.settle(lease, Completed())).state is State.COMPLETED


async def test_a_standalone_server_is_a_concern(broker: StoreBroker) -> None:
    database = await broker.store._connection.here()  # type: ignore[attr-defined]
    said = [str(concern) for concern in broker.concerns()]
    assert len(said) == (0 if database.replicated else 1)
    assert all("replica set" in text for text in said)


async def test_a_handle_that_is_not_open(clock: Clock, mongo_url: str) -> None:
    broker = handle(clock, mongo_url)
    with pytest.raises(Unavailable, match="is not open"):
        await broker.get("a")
    await broker.close()


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (errors.ServerSelectionTimeoutError("user:secret"), Unavailable),
        (errors.AutoReconnect("secret"), Unavailable),
        (errors.NotPrimaryError("secret"), Unavailable),
        (errors.NetworkTimeout("secret"), Unavailable),
        (errors.WTimeoutError("secret", 64), Unavailable),
        (errors.ExecutionTimeout("secret", 50), Unavailable),
        (errors.OperationFailure("secret", 11600), Unavailable),
        (errors.OperationFailure("secret", 14031), Unavailable),
        (errors.OperationFailure("secret", 13), Invalid),
        (errors.OperationFailure("secret", 18), Invalid),
        (errors.OperationFailure("secret", 59), Invalid),
        (errors.WriteError("secret", 17419), Invalid),
        (errors.DocumentTooLarge("secret"), Invalid),
        (errors.ConfigurationError("secret"), Invalid),
        (errors.InvalidURI("secret"), Invalid),
        (InvalidDocument("secret"), Invalid),
        (OverflowError("secret"), Invalid),
    ],
)
def test_the_drivers_errors_become_ours(error: Exception, ours: type[Error]) -> None:
    said = translated(error, "host:27017")
    assert type(said) is ours
    assert "secret" not in f"{said} {said.details}"
