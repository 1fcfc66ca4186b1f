"""Whom a command speaks to: `--url`, the setting `url`, a gateway that runs on this data folder, else the broker."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pumasi.cli.output import say
from pumasi.config import Settings
from pumasi.errors import BadSetting, Invalid
from pumasi.locale import gettext as _
from pumasi.masking import mask
from pumasi.terminal import printable

if TYPE_CHECKING:
    from pumasi.client import AsyncClient


#: seconds until a missing answer is spoken of
_PATIENCE = 2.0


def load(**flags: Any) -> Settings:
    """The settings, with their notes told on standard error, and logs configured for a command that is no service."""
    from pumasi import log

    settings = Settings.load(**flags)
    for note in settings.notes:
        say(_("warning: {text}").format(text=printable(str(note))))
    log.configure(settings.log_format, "debug" if settings.debug else "warning")
    return settings


@asynccontextmanager
async def connected(settings: Settings, url: str | None = None) -> "AsyncIterator[AsyncClient]":
    """A client of whom this command speaks to."""
    from pumasi.client import AsyncClient

    where, token = target(settings, url)
    if where.startswith(("http://", "https://")):
        await _knock(where)
    async with AsyncClient(where, token=token, scripts=settings.scripts) as client:
        yield client


def target(settings: Settings, url: str | None = None) -> tuple[str, str | None]:
    """URL and token."""
    running = gateway(settings)
    given = settings.token.get_secret_value() if settings.token else None
    where = url or settings.url or (running and running["url"]) or checked(settings).broker_url
    if given is None and running and where.rstrip("/") == running["url"].rstrip("/"):
        given = running["token"]
    return where, given


def checked(settings: Settings) -> Settings:
    """The settings, unless a name of another program made them mean a broker that does not exist yet.

    Raises:
        BadSetting: it did.
    """
    from pumasi.broker.url import COMING

    scheme = settings.broker_url.partition(":")[0]
    kind = COMING.get(scheme) or (_("task manager") if scheme in ("http", "https") else None)
    if settings.broker is None and kind is not None:
        raise BadSetting(
            "{origin} names a broker, and Pumasi cannot work on {kind} yet; set PUMASI_BROKER=sqlite:///FILE",
            origin=settings.broker_why,
            kind=kind,
        )
    return settings


def gateway(settings: Settings) -> dict[str, Any] | None:
    """What the gateway that runs on this data folder says of itself, `{url, token, pid}`; None when none runs."""
    try:
        with open(settings.token_file, encoding="utf-8") as file:
            said = json.load(file)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        text = "{path} belongs to another user; name a gateway with --url, and its token in PUMASI_TOKEN"
        raise Invalid(text, path=str(settings.token_file)) from error
    except (OSError, ValueError):
        return None
    return said if isinstance(said, dict) and {"url", "pid"} <= said.keys() and _alive(said["pid"]) else None


async def _knock(url: str) -> None:
    """Say so when nobody is there: the client goes on asking for a while, and silence would be puzzling."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(_PATIENCE):
            _reader, writer = await asyncio.open_connection(parts.hostname, port)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        say(_("{url} does not answer; asking again for a while").format(url=mask(url)))


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, TypeError, OverflowError):
        return False
    return True
