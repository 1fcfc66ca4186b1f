"""A gateway as a program: the app, a server, the broker behind it, and the file that tells the command line of it.

Theory of operation. The port is taken first, so that a second gateway fails at once and says why. Then the broker is
opened, with patience: a gateway may well be up before its store. Then requests are answered, and every five seconds
the broker is swept. Asked to stop, the gateway lets nobody new in, answers those who wait with the job as it stands
(202; they ask again elsewhere), ends the streams, and goes. Signals are the business of whoever calls `serve`.
"""

import asyncio
import contextlib
import errno
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any
from urllib.parse import urlsplit

import uvicorn

from pumasi.broker import Broker, connect
from pumasi.config import Settings
from pumasi.errors import Error, Invalid, Unavailable
from pumasi.gateway.app import Gateway, create_app
from pumasi.gateway.auth import check_access
from pumasi.log import get_logger
from pumasi.scripts.local import LocalRepository
from pumasi.tokenfile import check_free, left_token, token_file

log = get_logger(__name__)

#: seconds between sweeps
SWEEP = 5.0
#: seconds that open answers get to be sent once the gateway stops
_LAST_WORDS = 5.0
_LONGEST_BACKOFF = 10.0


async def serve(
    settings: Settings,
    *,
    ready: Callable[[str], None] | None = None,
    broker: Broker | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run a gateway until `stop` is set or the task is cancelled; returns the exit code 0.

    `ready` is called with the URL once requests are answered. An open `broker` is used and left open; without one, that
    of the settings is opened, and closed.

    Raises:
        Unavailable: the port is taken, or another gateway runs on the data folder.
        Invalid: a setting that cannot be; a broker that will never work.
    """
    stop = stop or asyncio.Event()
    token = _token(settings)
    check_access(settings.host, token=token, open_access=settings.open_access)
    with _bound(settings.host, settings.port) as listener:
        url = _url(settings.host, listener)
        check_free(settings.token_file)
        async with _opened(settings, broker, stop) as store:
            if store is None:
                return 0
            _listen(listener, settings)
            app = create_app(
                store,
                LocalRepository(settings.scripts),
                token=token,
                open_access=settings.open_access,
                host=settings.host,
                hosts=_names(settings),
            )
            with token_file(settings.token_file, url, token):
                sweeping = _sweep(store, settings.cleanup_interval)
                await _serve(app, listener, stop, sweeping, lambda: _tell(url, settings, ready))
    log.info("gateway.stopped", url=url)
    return 0


async def _serve(
    app: Gateway,
    listener: socket.socket,
    stop: asyncio.Event,
    beside: Coroutine[Any, Any, None],
    ready: Callable[[], None],
) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=int(_LAST_WORDS),
        ),
        ready,
    )
    serving = asyncio.create_task(server.serve([listener]))
    sweeping = asyncio.create_task(beside)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        log.info("gateway.draining")
        app.state.services.draining.set()
        server.should_exit = True
        stopping.cancel()
        sweeping.cancel()
        await asyncio.gather(stopping, sweeping, return_exceptions=True)
        await serving


class _Server(uvicorn.Server):
    """uvicorn within a program that has its own idea of signals, and wants to know when requests are answered."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


async def _sweep(broker: Broker, cleanup_interval: float) -> None:
    """Sweep often, forget seldom."""
    forgotten_at = float("-inf")
    while True:
        now = time.monotonic()
        forget = now - forgotten_at >= cleanup_interval
        forgotten_at = now if forget else forgotten_at
        try:
            await broker.sweep(forget=forget)
        except Unavailable as error:
            log.warning("gateway.sweep_failed", error=str(error))
        except Exception:
            log.exception("gateway.sweep_broken")
        await asyncio.sleep(SWEEP)


@contextlib.asynccontextmanager
async def _opened(settings: Settings, broker: Broker | None, stop: asyncio.Event) -> AsyncIterator[Broker | None]:
    """The broker, open; None when the gateway was stopped before it answered."""
    if broker is not None:
        yield broker
        return
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    broker = connect(settings.broker_url, blobs=settings.blobs, defaults=settings.broker_options, zone=settings.zone)
    tries = 0
    while not stop.is_set():
        try:
            await broker.open()
        except Unavailable as error:
            tries += 1
            wait = min(_LONGEST_BACKOFF, 0.1 * 2 ** min(tries, 10)) * (0.5 + random.random() / 2)
            log.warning("gateway.broker_unavailable", url=broker.url, error=str(error), seconds=round(wait, 1))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await stop.wait()
            continue
        for concern in broker.concerns():
            log.warning("broker.concern", reason=str(concern))
        try:
            yield broker
        finally:
            await broker.close()
        return
    yield None


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address. Raises: Unavailable (it is taken), Invalid (it is none of this machine)."""
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise _no_listening(host, port, error) from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise _no_listening(host, port, error) from error
        yield listener


def _listen(listener: socket.socket, settings: Settings) -> None:
    """From now on callers are let in; until then they are refused, and try again."""
    try:
        listener.listen(2048)
    except OSError as error:  # somebody else was bound to the same port, and was faster
        raise _no_listening(settings.host, settings.port, error) from error


def _no_listening(host: str, port: int, error: OSError) -> Error:
    if error.errno == errno.EADDRINUSE:
        text = "port {port} of {host} is taken; stop what listens there, or choose another port (0 takes a free one)"
        return Unavailable(text, host=host, port=port)
    text = "{host}:{port} cannot be listened on: {why}"
    return Invalid(text, host=host, port=port, why=error.strerror or str(error))


def _url(host: str, listener: socket.socket) -> str:
    """Where this machine reaches the gateway."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    port = listener.getsockname()[1]
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _token(settings: Settings) -> str | None:
    """The token of the settings, else that of a gateway that was killed, else a new one; None with open access."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    if settings.open_access:
        return None
    return left_token(settings.token_file) or secrets.token_urlsafe(32)


def _names(settings: Settings) -> list[str]:
    """The name that callers are told to use, beside the address."""
    parts = urlsplit(settings.url or "")
    return [parts.hostname] if parts.scheme in ("http", "https") and parts.hostname else []


def _tell(url: str, settings: Settings, ready: Callable[[str], None] | None) -> None:
    log.info("gateway.started", url=url, scripts=str(settings.scripts))
    if ready is not None:
        ready(url)
