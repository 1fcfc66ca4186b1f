"""The servers that are reached in other ways keep the promises of one that is named."""

import asyncio
from pathlib import Path

import pytest

from pumasi.broker import connect
from pumasi.broker.base import Broker
from pumasi.core.job import State
from pumasi.core.outcome import Completed
from pumasi.errors import Invalid, Unavailable
from tests.broker.conformance.base import claims, submitted
from tests.servers.redis import RedisServer
from tests.servers.redis_ways import SERVICE, TlsRedis, client, cluster, watched_pair


async def works(broker: Broker, id: str = "a") -> None:
    """From submitted to ended, and seen."""
    waiting = asyncio.create_task(claims(broker, wait=20))
    await submitted(broker, id)
    (lease,) = await asyncio.wait_for(waiting, 20)
    await broker.settle(lease, Completed(result="1"))
    assert (await broker.wait(id, 20)).state is State.COMPLETED


# -- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_tls(tmp_path_factory: pytest.TempPathFactory):
    server = TlsRedis(tmp_path_factory.mktemp("tls"))
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_tls_with_the_certificate_of_the_server(by_tls: TlsRedis, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{by_tls.tls_port}?ssl_ca_certs={by_tls.certificate.file}&prefix={scheme}"
    async with connect(url) as broker:
        await works(broker)


async def test_tls_to_whom_nobody_vouches_for_is_refused(by_tls: TlsRedis) -> None:
    with pytest.raises(Unavailable, match="certificate"):
        await connect(f"rediss://127.0.0.1:{by_tls.tls_port}").open()


async def test_tls_options_without_tls_are_refused() -> None:
    with pytest.raises(Invalid, match="rediss://"):
        connect("redis://localhost?ssl_ca_certs=/etc/ca.pem")


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
async def test_the_socket_of_a_server(tmp_path: Path, scheme: str) -> None:
    server = RedisServer(tmp_path, options=("--unixsocket", str(tmp_path / "s")))
    server.start()
    try:
        async with connect(f"{scheme}+unix://{tmp_path}/s?db=3") as broker:
            await works(broker)
    finally:
        server.stop()


# -- a cluster ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
async def test_a_cluster_whichever_node_is_asked(tmp_path: Path, count: int) -> None:
    """All our keys are on one node; the others send us there."""
    with cluster(tmp_path, count) as nodes:
        for n, node in enumerate(nodes):
            async with connect(f"redis+cluster://127.0.0.1:{node.port}?prefix=p") as broker:
                await works(broker, f"j{n}")
        holding = []
        for node in nodes:
            with client(node) as here:
                holding += [node] if here.dbsize() else []
        assert len(holding) == 1


async def test_a_node_of_a_cluster_that_is_gone(tmp_path: Path) -> None:
    with cluster(tmp_path, 3) as nodes:
        url = f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in nodes)}"
        async with connect(url) as broker:
            await works(broker)
            for node in nodes:
                node.kill()
            with pytest.raises(Unavailable):
                await broker.get("a")


# -- sentinels ----------------------------------------------------------------------------------------------------


async def test_the_primary_that_sentinels_name_and_the_next_one(tmp_path: Path) -> None:
    """The primary dies; the same handle goes on with the server that takes its place."""
    with watched_pair(tmp_path) as (sentinel, primary, replica):
        async with connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}") as broker:
            await works(broker, "before")
            with client(primary) as here:
                here.wait(1, 5000)
            primary.kill()
            async with asyncio.timeout(40):
                while True:
                    try:
                        await works(broker, "after")
                        break
                    except Unavailable:
                        await asyncio.sleep(0.2)
            assert (await broker.get("before")).state is State.COMPLETED
        with client(replica) as here:
            assert here.info("replication")["role"] == "master"


async def test_sentinels_that_know_no_such_service(tmp_path: Path) -> None:
    with watched_pair(tmp_path) as (sentinel, _, _), pytest.raises(Unavailable, match="know no primary"):
        await connect(f"redis+sentinel://127.0.0.1:{sentinel.port}/nobody").open()
