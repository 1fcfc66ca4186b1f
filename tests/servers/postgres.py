"""A private PostgreSQL: a cluster of its own for each process that runs tests, a schema of its own for each test.

PostgreSQL refuses to run as root; then it runs as `nobody`.
"""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from tests.servers import Server, missing

#: as quick as it goes: nothing of a test's is to outlive its server
_QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")
_DURABLE = ("shared_buffers=32MB",)


def binary(name: str) -> str:
    """The path of one of PostgreSQL's programs; skips the test where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    path = os.pathsep.join([*(str(folder) for folder in reversed(folders)), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        missing("PostgreSQL", "apt-get install postgresql")
    return found or name


def _unprivileged(folder: Path) -> list[str]:
    """What a command is put behind so that it does not run as root."""
    if os.getuid() != 0:
        return []
    user = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    return [*user, "env", f"HOME={folder}"]


class PostgresServer(Server):
    """One cluster. `durable`: what was committed survives the loss of the process."""

    def __init__(self, folder: Path, *, durable: bool = False, **settings: str) -> None:
        super().__init__(folder)
        self._durable = durable
        self._settings = [f"{name}={value}" for name, value in settings.items()]
        self._initialise()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = "t") -> str:
        """The broker URL of a database in it."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def command(self) -> Sequence[str]:
        ours = ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "max_connections=100")
        kind = _DURABLE if self._durable else _QUICK
        settings = [word for setting in (*ours, *kind, *self._settings) for word in ("-c", setting)]
        data = str(self.folder / "data")
        return [*_unprivileged(self.folder), binary("postgres"), "-D", data, "-p", str(self.port), *settings]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Without waiting for clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        self.kill()

    def _initialise(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")
        command = [binary("initdb"), "-D", str(self.folder / "data"), "-U", "t", "--auth=trust", "-E", "UTF8"]
        options = ["--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        subprocess.run([*_unprivileged(self.folder), *command, *options], check=True, capture_output=True)


_running: dict[int, PostgresServer] = {}
_schemas = itertools.count()


def shared() -> PostgresServer:
    """The server of this process, started when it is first asked for."""
    server = _running.get(os.getpid())
    if server is None:
        folder = Path(tempfile.mkdtemp(prefix="pumasi-postgres-"))
        server = _running[os.getpid()] = PostgresServer(folder)
        server.start()
        atexit.register(_end, server)
    return server


def _end(server: PostgresServer) -> None:
    if _running.get(os.getpid()) is server:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def fresh_url(server: PostgresServer | None = None) -> str:
    """The URL of a schema that nobody has used."""
    return f"{(server or shared()).url}?schema=s{next(_schemas)}"


def drop(url: str) -> None:
    """Remove the schema of such a URL."""
    place, _, schema = url.partition("?schema=")
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")  # type: ignore[arg-type]


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A schema of the test's own, on the server of this process."""
    url = fresh_url()
    yield url
    drop(url)
