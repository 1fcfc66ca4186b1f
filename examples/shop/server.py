"""The shop's server: a thread for each connection, nothing but the standard library."""

import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from . import pages
from .goods import CATEGORIES, products

#: of all pages, about one in so many fails the first time it is asked for
FAILS_ONE_IN = 37
#: the page that takes its time, and how many seconds
SLOW_PAGE = "/category/lamps?page=2"
SLOW_SECONDS = 1.5


class Shop:
    """A running shop. Every page takes `latency` seconds, the slow one `slow_seconds`. Use as a context manager."""

    def __init__(self, port: int = 0, *, latency: float = 0.0, slow_seconds: float = SLOW_SECONDS) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.latency, self._server.slow_seconds = latency, slow_seconds
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> int:
        """How many pages were asked for."""
        return self._server.requests

    @property
    def failures(self) -> int:
        """How many of them were an error 500."""
        return self._server.failures

    def serve(self) -> None:
        """Serve in this thread, until somebody interrupts it."""
        self._server.serve_forever()

    def __enter__(self) -> "Shop":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    latency = 0.0
    slow_seconds = SLOW_SECONDS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.closing = threading.Event()
        self.requests = self.failures = 0
        self._failed: set[str] = set()
        self._lock = threading.Lock()

    def stumbles(self, target: str) -> bool:
        """Whether this request fails: the first one for a page that is among the unlucky."""
        with self._lock:
            self.requests += 1
            if zlib.crc32(target.encode()) % FAILS_ONE_IN or target in self._failed:
                return False
            self._failed.add(target)
            self.failures += 1
            return True


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer with a page."""
        target = self.path[:500]
        delay = self.server.slow_seconds if target == SLOW_PAGE else self.server.latency
        if delay:
            self.server.closing.wait(delay)
        if self.server.stumbles(target):
            self._answer(500, pages.error(500, "The shop has stumbled. Please try again."))
        else:
            self._answer(*_found(target))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo's screen belongs to the demo."""

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _found(target: str) -> tuple[int, str]:
    parts = urlsplit(target)
    match parts.path.strip("/").split("/"):
        case [""]:
            return 200, pages.front()
        case ["category", name] if name in CATEGORIES:
            return _category(name, parse_qs(parts.query).get("page", ["1"])[0])
        case ["product", id]:
            return next(((200, pages.product(good)) for good in products() if str(good.id) == id), _MISSING)
    return _MISSING


def _category(name: str, page: str) -> tuple[int, str]:
    goods = [good for good in products() if good.category == name]
    last = -(-len(goods) // pages.PAGE_SIZE)
    if not page.isdecimal() or not 1 <= int(page[:6]) <= last:
        return _MISSING
    return 200, pages.category(name, goods, int(page))


_MISSING = (404, pages.error(404, "There is nothing here."))
