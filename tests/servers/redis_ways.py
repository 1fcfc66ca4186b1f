"""Other ways to reach a Redis server: by TLS, by sentinels, as a cluster."""

import datetime
import ipaddress
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import PATIENCE, free_port
from tests.servers.redis import RedisServer

#: slots of a cluster
SLOTS = 16384
SERVICE = "jobs"


def until(holds: object, what: str) -> None:
    """Wait for what a server does in its own time."""
    assert callable(holds)
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def client(server: RedisServer) -> redis.Redis:
    """Any program's connection to it."""
    return redis.Redis(port=server.port, decode_responses=True)


def has_loaded(server: RedisServer) -> bool:
    """Whether it is done with reading what it has kept; connections it takes before."""
    with client(server) as here:
        try:
            return bool(here.ping())
        except redis.BusyLoadingError:
            return False


# -- TLS ----------------------------------------------------------------------------------------------------------


class Certificate:
    """A certificate for the loopback that nobody but itself vouches for."""

    def __init__(self, folder: Path) -> None:
        self.file, self.key_file = folder / "server.crt", folder / "server.key"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        self.key_file.write_bytes(private)


class TlsRedis(RedisServer):
    """One that speaks TLS on a port of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.certificate = Certificate(folder)
        self.tls_port = free_port()
        self.options = (
            "--tls-port", str(self.tls_port), "--tls-cert-file", str(self.certificate.file),
            "--tls-key-file", str(self.certificate.key_file), "--tls-auth-clients", "no",
        )  # fmt: skip


# -- a cluster ----------------------------------------------------------------------------------------------------


class ClusterNode(RedisServer):
    """A node that knows no others yet."""

    def __init__(self, folder: Path) -> None:
        bus = str(free_port())
        super().__init__(folder, options=("--cluster-enabled", "yes", "--cluster-port", bus))


@contextmanager
def cluster(folder: Path, count: int) -> Iterator[list[ClusterNode]]:
    """A cluster of so many primaries, whole, with the slots dealt out evenly."""
    with ExitStack() as running:
        nodes = []
        for n in range(count):
            node = ClusterNode(folder / f"node{n}")
            running.callback(node.stop)
            node.start()
            nodes.append(node)
        share = -(-SLOTS // count)
        for n, node in enumerate(nodes):
            last = min((n + 1) * share, SLOTS) - 1
            with client(node) as here:
                here.execute_command("CLUSTER", "ADDSLOTSRANGE", n * share, last)
                if n:
                    bus = nodes[0].options[-1]
                    here.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus)
        for node in nodes:
            until(lambda node=node: _is_whole(node, count), "the cluster did not become whole")
        yield nodes


def _is_whole(node: ClusterNode, count: int) -> bool:
    with client(node) as here:
        said = here.execute_command("CLUSTER", "INFO")
    text = said if isinstance(said, str) else "\n".join(f"{name}:{value}" for name, value in said.items())
    return "cluster_state:ok" in text and f"cluster_known_nodes:{count}" in text


# -- sentinels ----------------------------------------------------------------------------------------------------


class Sentinel(RedisServer):
    """A sentinel that watches a primary alone, and is sure of itself."""

    def __init__(self, folder: Path, primary: RedisServer) -> None:
        super().__init__(folder)
        self._primary = primary

    def command(self) -> Sequence[str]:
        config = self.folder / "sentinel.conf"
        if not config.exists():
            config.write_text(
                f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\n"
                f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary.port} 1\n"
                f"sentinel down-after-milliseconds {SERVICE} 500\n"
                f"sentinel failover-timeout {SERVICE} 2000\n"
            )
        mortal = list(super().command())
        program = next(n for n, word in enumerate(mortal) if word.endswith("-server"))
        return [*mortal[: program + 1], str(config), "--sentinel"]


@contextmanager
def watched_pair(folder: Path) -> Iterator[tuple[Sentinel, RedisServer, RedisServer]]:
    """A primary with a replica that follows it, and a sentinel that knows both."""
    with ExitStack() as running:
        primary = RedisServer(folder / "primary")
        running.callback(primary.stop)
        primary.start()
        replica = RedisServer(folder / "replica", options=("--replicaof", f"127.0.0.1 {primary.port}"))
        running.callback(replica.stop)
        replica.start()
        with client(replica) as here:
            until(lambda: here.info("replication").get("master_link_status") == "up", "the replica does not follow")
        sentinel = Sentinel(folder / "sentinel", primary)
        running.callback(sentinel.stop)
        sentinel.start()
        with client(sentinel) as here:
            until(lambda: here.sentinel_master(SERVICE)["num-slaves"] == 1, "the sentinel knows no replica")
        yield sentinel, primary, replica
