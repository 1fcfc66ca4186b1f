"""What a server must be to be trusted with jobs, and what becomes of its errors."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pumasi.broker import connect
from pumasi.broker.redis.address import connected
from pumasi.broker.redis.gate import translated
from pumasi.broker.redis.wire import Gone, Refusal, Wire, packed
from pumasi.core.job import State
from pumasi.core.outcome import Completed
from pumasi.errors import Invalid, Unavailable
from tests.broker.conformance.base import a_job, claims, ended, leased, submitted
from tests.servers.redis import RedisServer, address
from tests.servers.redis_ways import client, has_loaded, until

Start = Callable[..., RedisServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A server with these options."""
    running: list[RedisServer] = []

    def started(*options: str, durable: bool = False) -> RedisServer:
        server = RedisServer(tmp_path / str(len(running)), durable=durable, options=options)
        running.append(server)
        server.start()
        return server

    yield started
    for server in running:
        server.stop()


# -- how it is set ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_may_drop_jobs_is_refused_and_told_which_setting(start: Start, policy: str) -> None:
    server = start("--maxmemory-policy", policy)
    broker = connect(server.url)
    with pytest.raises(Invalid) as refused:
        await broker.open()
    assert f"maxmemory-policy is {policy}" in str(refused.value)
    assert "CONFIG SET maxmemory-policy noeviction" in str(refused.value)
    with client(server) as other:
        other.config_set("maxmemory-policy", "noeviction")
    await broker.open()
    await broker.close()


@pytest.mark.parametrize("durable", [True, False])
async def test_a_server_without_an_append_only_file_is_a_concern(start: Start, durable: bool) -> None:
    async with connect(start(durable=durable).url) as broker:
        concerns = [str(concern) for concern in broker.concerns()]
    assert concerns == [] if durable else "appendonly yes" in concerns[0]


async def test_a_user_who_may_not_ask_how_it_is_set_is_a_concern(start: Start) -> None:
    server = start()
    with client(server) as other:
        other.acl_setuser(
            "u", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=["+@all", "-info"]
        )
    async with connect(f"redis://u:secret@127.0.0.1:{server.port}") as broker:
        await submitted(broker, "a")
        assert "INFO is forbidden" in str(broker.concerns()[0])


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:secret@"])
async def test_a_login_that_is_refused_shows_no_password(start: Start, login: str) -> None:
    server = start("--requirepass", "secret")
    with pytest.raises(Invalid) as refused:
        await connect(f"redis://{login}127.0.0.1:{server.port}").open()
    assert "password" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "wrong" not in str(refused.value)


# -- what befalls it ----------------------------------------------------------------------------------------------


async def test_killed_and_started_again_it_has_what_it_has_acknowledged(start: Start) -> None:
    server = start(durable=True)
    async with connect(server.url) as broker:
        lease = await leased(broker, "a")
        await broker.submit([a_job(f"b{n}") for n in range(50)])
        server.kill()
        with pytest.raises(Unavailable):
            await broker.get("a")
        server.start()
        until(lambda: has_loaded(server), "it did not read its data")
        assert (await broker.settle(lease, Completed(result="1"))).state is State.COMPLETED
        assert len(await claims(broker, 100)) == 50


async def test_scripts_that_a_server_has_forgotten_are_told_again(start: Start) -> None:
    server = start()
    async with connect(server.url) as broker:
        await submitted(broker, "a")
        with client(server) as other:
            other.script_flush()
        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(submitted(broker, f"b{n}"))
        assert len(await claims(broker, 30)) == 21


async def test_without_memory_it_is_unavailable_and_nothing_is_half_done(start: Start) -> None:
    server = start("--maxmemory", "24mb")
    async with connect(server.url) as broker:
        lease = await leased(broker, "a")
        with client(server) as other:
            other.config_set("maxmemory", 1)
            before = sorted(other.scan_iter(count=10_000))
            with pytest.raises(Unavailable, match="maxmemory"):
                await broker.submit([a_job("b"), a_job("c")])
            with pytest.raises(Unavailable, match="maxmemory"):
                await broker.settle(lease, Completed(result="1"))
            assert sorted(other.scan_iter(count=10_000)) == before
            other.config_set("maxmemory", 0)
        assert (await broker.settle(lease, Completed(result="1"))).state is State.COMPLETED
        await broker.submit([a_job("b"), a_job("c")])


async def test_a_server_that_has_become_a_replica_is_unavailable_until_it_is_none(start: Start) -> None:
    server, other = start(), start()
    async with connect(server.url) as broker:
        await submitted(broker, "a")
        with client(server) as here:
            here.replicaof("127.0.0.1", other.port)
            until(lambda: here.info("replication")["role"] == "slave", "it follows nobody")
            with pytest.raises(Unavailable):
                await submitted(broker, "b")
            here.replicaof("NO", "ONE")
        await submitted(broker, "b")


async def test_a_connection_that_is_killed_is_made_again(start: Start) -> None:
    server = start()
    async with connect(server.url) as broker:
        await submitted(broker, "a")
        waiting = asyncio.create_task(claims(broker, queues=["later"], wait=60))
        await asyncio.wait([waiting], timeout=0.05)
        with client(server) as other:
            for one in other.client_list():
                if one["name"] == "pumasi":
                    other.client_kill_filter(_id=one["id"])
        await asyncio.wait([waiting], timeout=0.1)
        await submitted(broker, "b", queue="later")
        (lease,) = await asyncio.wait_for(waiting, 20)
        assert lease.id == "b"


async def test_a_server_that_says_nothing_is_given_up_in_time(start: Start) -> None:
    server = start()
    wire = Wire(await connected(address(server), ("127.0.0.1", server.port)), deadline=0.2)
    assert await wire.ask(packed(b"PING")) == b"PONG"
    server.freeze()
    try:
        first, second = wire.ask(packed(b"PING")), wire.ask(packed(b"PING"))
        async with asyncio.timeout(10):
            for answer in (first, second):
                with pytest.raises(Gone):
                    await answer
        assert not wire.open
    finally:
        server.thaw()


# -- its errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "OOM command not allowed when used memory > 'maxmemory'. script: 5b8, on @user_script:1.",
        "BUSY Redis is busy running a script.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "CLUSTERDOWN The cluster is down",
        "ERR something that nobody knows",
    ],
)
def test_what_may_pass_is_unavailable(said: str) -> None:
    assert isinstance(translated(Refusal(said), "here"), Unavailable)


@pytest.mark.parametrize(
    "said",
    [
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM User u has no permissions to run the 'evalsha' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR DB index is out of range",
    ],
)
def test_what_will_not_pass_is_invalid(said: str) -> None:
    assert isinstance(translated(Refusal(said), "here"), Invalid)


# -- what it costs ------------------------------------------------------------------------------------------------


async def test_submit_claim_and_settle_take_one_round_trip_each(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    ask = Wire.ask

    def counted(wire: Wire, command: bytes) -> asyncio.Future[object]:
        nonlocal asked
        asked += 1
        return ask(wire, command)

    monkeypatch.setattr(Wire, "ask", counted)
    async with connect(start().url) as broker:
        await ended(broker)  # the server knows the scripts from here on
        asked = 0
        await broker.submit([a_job() for _ in range(10)])
        assert asked == 1
        leases = await claims(broker, 10)
        assert (len(leases), asked) == (10, 2)
        await broker.settle(leases[0], Completed(result="1"))
        assert asked == 3


async def test_a_server_that_cannot_be_waited_on_for_entries_is_not_asked_again_and_again(start: Start) -> None:
    server = start("--rename-command", "BLMOVE", "")
    async with connect(server.url) as broker:
        with client(server) as other:
            assert await claims(broker, wait=0.3) == []
            before = other.info("stats")["total_connections_received"]
            assert await claims(broker, wait=0.5) == []
            assert other.info("stats")["total_connections_received"] == before
            other.lpush("scraping:tasks:pending", '{"script_name": "echo", "request_id": "r"}')
        (lease,) = await claims(broker)
        assert lease.job.external_id == "r"
