"""The bad network is as bad as it says, and no worse."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.servers.proxy import Proxy, Way


class Echo(socketserver.BaseRequestHandler):
    """Says what it hears; keeps what it heard."""

    heard: bytearray

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                self.server.heard += data  # type: ignore[attr-defined]
                self.request.sendall(data)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)
        self.heard = bytearray()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[Proxy]:
    with Proxy(server.server_address[1]) as proxy:
        yield proxy


@contextlib.contextmanager
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as line:
        yield line


def said(line: socket.socket, data: bytes) -> bytes:
    """What comes back for some bytes."""
    line.sendall(data)
    answer = b""
    while len(answer) < len(data):
        part = line.recv(65536)
        if not part:
            break
        answer += part
    return answer


def silent(line: socket.socket, seconds: float = 0.1) -> bool:
    line.settimeout(seconds)
    try:
        line.recv(1)
    except TimeoutError:
        return True
    finally:
        line.settimeout(5)
    return False


def reset(line: socket.socket) -> bool:
    """Whether the connection is broken, not ended."""
    with pytest.raises(ConnectionResetError):
        while line.recv(65536):
            pass
        return False
    return True


def heard(server: EchoServer, data: bytes) -> bool:
    """Whether that reaches the server."""
    end = time.monotonic() + 5
    while data not in server.heard:
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def test_it_passes_everything_and_counts(proxy: Proxy) -> None:
    data = bytes(range(256)) * 4096
    with client(proxy) as one, client(proxy) as other:
        assert said(other, b"hello") == b"hello"
        threading.Thread(target=one.sendall, args=(data,)).start()
        answer = b""
        while len(answer) < len(data):
            answer += one.recv(65536)
        assert answer == data
        assert (proxy.accepted, proxy.standing) == (2, 2)
    assert proxy.carried == {Way.IN: len(data) + 5, Way.OUT: len(data) + 5}


def test_the_end_of_a_stream_is_passed_on(proxy: Proxy) -> None:
    with client(proxy) as line:
        line.sendall(b"last words")
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b"last words"
        assert line.recv(100) == b""


def test_refused(proxy: Proxy) -> None:
    with client(proxy) as line:
        assert said(line, b"a") == b"a"
        proxy.refuse()
        assert reset(line)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.fair()
    with client(proxy) as line:
        assert said(line, b"b") == b"b"


def test_a_server_that_is_away(proxy: Proxy, server: EchoServer) -> None:
    # it may come as soon as the connection is made
    with Proxy(1) as proxy, contextlib.suppress(ConnectionResetError), client(proxy) as line:
        assert reset(line)


def test_a_hole_swallows_nothing_for_good(proxy: Proxy, server: EchoServer) -> None:
    with client(proxy) as line:
        proxy.black_hole()
        line.sendall(b"in the hole")
        assert silent(line)
        assert not server.heard
        proxy.fair()
        assert line.recv(100) == b"in the hole"


def test_a_hole_on_the_way_back(proxy: Proxy, server: EchoServer) -> None:
    proxy.black_hole(Way.OUT)
    with client(proxy) as line:
        line.sendall(b"a request")
        assert heard(server, b"a request")
        assert silent(line)
        proxy.fair()
        assert line.recv(100) == b"a request"


def test_a_hole_on_the_way_in(proxy: Proxy, server: EchoServer) -> None:
    with client(proxy) as line:
        proxy.black_hole(Way.IN)
        line.sendall(b"a request")
        assert silent(line)
        assert not server.heard


def test_throttled(proxy: Proxy) -> None:
    proxy.throttle(2000)
    with client(proxy) as line:
        began = time.monotonic()
        assert said(line, b"x" * 400) == b"x" * 400
        assert 0.2 < time.monotonic() - began < 3


@pytest.mark.parametrize("way", Way)
def test_cut_after_some_bytes(proxy: Proxy, server: EchoServer, way: Way) -> None:
    with client(proxy) as line:
        assert said(line, b"x" * 100) == b"x" * 100
        proxy.cut_after(way, 10)
        line.sendall(b"y" * 100)
        assert reset(line)
        assert proxy.cut.wait(5)
    passed = 10 if way is Way.IN else 100
    assert heard(server, b"y" * passed)  # the server reads in its own time
    assert server.heard.count(b"y") == passed
    with client(proxy) as line:  # and each that comes after it
        assert said(line, b"z" * 10) == b"z" * 10
        line.sendall(b"z")
        assert reset(line)


def test_the_answer_to_one_request_is_lost(proxy: Proxy, server: EchoServer) -> None:
    proxy.cut_answer(b"commit it")
    with client(proxy) as line, client(proxy) as other:
        assert said(line, b"begin") == b"begin"
        line.sendall(b"com")
        assert line.recv(3) == b"com"
        line.sendall(b"mit it")
        assert reset(line)
        assert proxy.cut.is_set()
        assert heard(server, b"commit it")
        assert said(other, b"commit it") == b"commit it"  # only one


def test_reset(proxy: Proxy) -> None:
    with client(proxy) as line:
        assert said(line, b"a") == b"a"
        proxy.reset()
        assert reset(line)
    with client(proxy) as line:
        assert said(line, b"b") == b"b"


def test_half_closed(proxy: Proxy, server: EchoServer) -> None:
    with client(proxy) as line:
        assert said(line, b"a") == b"a"
        proxy.half_close(Way.OUT)
        assert line.recv(1) == b""
        line.sendall(b"still heard")
        assert heard(server, b"still heard")
    with client(proxy) as line:
        assert said(line, b"a") == b"a"
        proxy.half_close(Way.IN)
        assert line.recv(1) == b""  # the server ends what its client has ended


def test_a_url_leads_through_it(proxy: Proxy) -> None:
    assert proxy.url(f"redis://u:p@127.0.0.1:{proxy.target}/1?lease=2") == (
        f"redis://u:p@127.0.0.1:{proxy.port}/1?lease=2"
    )


def test_nothing_is_left(server: EchoServer) -> None:
    with Proxy(server.server_address[1]) as proxy, client(proxy) as line:
        assert said(line, b"a") == b"a"
        proxy.black_hole()
    assert proxy.standing == 0
    assert "proxy" not in [thread.name for thread in threading.enumerate()]
