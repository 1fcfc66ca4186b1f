"""Scripts against the network: of the host, of the cloud, and sockets that are no network at all."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from tests.sandbox.hostile.bench import Bench, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

REACH = """
def reach(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(1)
        client.connect(address)
"""


@contextlib.asynccontextmanager
async def listening(family_path: str = "") -> AsyncIterator[int]:
    """A server of the host's: on loopback, or on a socket of that name."""
    hang_up = lambda _, writer: writer.close()  # noqa: E731
    if family_path:
        server = await asyncio.start_unix_server(hang_up, family_path)
    else:
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    try:
        yield 0 if family_path else server.sockets[0].getsockname()[1]
    finally:
        server.close()


ADDRESSES = (
    REACH
    + """
def main(port):
    can("reach loopback of the host", reach, socket.AF_INET, ("127.0.0.1", port))
    can("reach the metadata service", reach, socket.AF_INET, ("169.254.169.254", 80))
    can("reach the metadata service by IPv6", reach, socket.AF_INET6, ("fd00:ec2::254", 80))
    can("send a datagram", reach, socket.AF_INET, ("192.0.2.1", 53), socket.SOCK_DGRAM)
    return could
"""
)


async def test_without_a_network(bench: Bench) -> None:
    async with listening() as port:
        job = await bench.run(ADDRESSES, {"port": port}, offline=True)
    bench.compare("no network", job, [*said(job), *bench.left_of(job)])
    await bench.settled()


async def test_with_the_hosts_network(bench: Bench) -> None:
    async with listening() as port:
        job = await bench.run(ADDRESSES, {"port": port})
    bench.compare("network", job, [*said(job), *bench.left_of(job)])
    await bench.settled()


async def test_unix_sockets(bench: Bench) -> None:
    path = bench.system.folder / "socket"
    name = f"\0pumasi-hostile-{os.getpid()}"
    source = (
        REACH
        + """
def main(path, name):
    can("reach an abstract socket", reach, socket.AF_UNIX, name)
    can("reach a socket in the file system", reach, socket.AF_UNIX, path)
    return could
"""
    )
    async with listening(str(path)), listening(name):
        path.chmod(0o777)
        job = await bench.run(source, {"path": str(path), "name": name})
    path.unlink(missing_ok=True)
    bench.compare("unix sockets", job, [*said(job), *bench.left_of(job)])
    await bench.settled()


async def test_socket_families(bench: Bench) -> None:
    source = """
def main():
    for name, arguments in {
        "raw": (2, 3, 1), "packet": (17, 3, 768), "vsock": (40, 1, 0), "alg": (38, 5, 0), "netlink uevent": (16, 3, 15),
        "netlink audit": (16, 3, 9), "bluetooth": (31, 3, 1), "xdp": (44, 3, 0), "can": (29, 3, 1),
    }.items():
        can(f"open a socket: {name}", lambda: socket.socket(*arguments).close())
    return could
"""
    await bench.row("socket families", source)
