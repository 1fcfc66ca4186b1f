"""A private Redis server."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pumasi.broker.redis import Address
from tests.servers import Server, accepts, missing


class RedisServer(Server):
    """A Redis that keeps nothing; with `durable`, one that has each write on its disk before it answers."""

    def __init__(self, folder: Path, *, durable: bool = False, options: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self.durable = durable
        self.options = tuple(options)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            missing("Redis", "apt-get install redis-server")
        assert program is not None
        kept = ("--appendonly", "yes", "--appendfsync", "always") if self.durable else ("--appendonly", "no")
        # a test process that is killed leaves none behind
        mortal = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        return [
            *mortal, program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", "",
            *kept, *self.options,
        ]  # fmt: skip

    def answers(self) -> bool:
        return accepts(self.port)


def address(server: RedisServer, prefix: str = "pumasi") -> Address:
    """Where a server of this kind is."""
    return Address(nodes=(("127.0.0.1", server.port),), prefix=prefix)


@functools.cache
def shared() -> RedisServer:
    """The server that all tests of this process share; each has a prefix of its own. It ends with the process."""
    folder = Path(tempfile.mkdtemp(prefix="pumasi-redis-"))
    server = RedisServer(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    server.start()
    return server
