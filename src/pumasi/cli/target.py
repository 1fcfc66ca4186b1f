"""Whom a command speaks to: `--url`, the setting `url`, a gateway that runs on this data folder, else the broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pumasi.cli.output import say
from pumasi.config import Settings
from pumasi.errors import BadSetting
from pumasi.locale import gettext as _
from pumasi.masking import mask
from pumasi.terminal import printable
from pumasi.tokenfile import running

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
    format = "console" if settings.log_format == "auto" else settings.log_format  # a command speaks to people
    log.configure(format, "debug" if settings.debug else "warning")
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
    told = running(settings.token_file)
    given = settings.token.get_secret_value() if settings.token else None
    where = url or settings.url or (told and told.url) or checked(settings).broker_url
    if given is None and told and where.rstrip("/") == told.url.rstrip("/"):
        given = told.token
    return where, given


def checked(settings: Settings) -> Settings:
    """The settings, unless a name of another program made them mean a broker that does not exist yet.

    Raises:
        BadSetting: it did.
    """
    from pumasi.broker.url import COMING

    scheme = settings.broker_url.partition(":")[0]
    kind = COMING.get(scheme)
    if settings.broker is None and kind is not None:
        raise BadSetting(
            "{origin} names a broker, and Pumasi cannot work on {kind} yet; set PUMASI_BROKER=sqlite:///FILE",
            origin=settings.broker_why,
            kind=kind,
        )
    return settings


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
