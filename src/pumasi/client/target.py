"""Whom a client speaks to, and with which token."""

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from pumasi.client.direct import DirectTransport
from pumasi.client.http import HttpTransport
from pumasi.client.transport import Transport
from pumasi.config import Settings
from pumasi.errors import Invalid
from pumasi.scripts.local import LocalRepository
from pumasi.tokenfile import Told, read


class Target:
    """What the caller said, filled up from the settings, and from the file a running gateway leaves on its machine.

    The token in that file is read anew when the file changes: a gateway that is restarted may make a new one.
    """

    def __init__(self, url: str | None, token: str | None, scripts: str | Path | None) -> None:
        self._given_token = token
        self._scripts = scripts
        self._known: tuple[object, Told | None] | None = None
        left = None if url or self._settings.url else self._left()
        self.url = url or self._settings.url or (left and left.url) or self._settings.broker_url

    @property
    def wait_timeout(self) -> float:
        """Seconds to wait for a result when nobody says."""
        return self._settings.wait_timeout

    def transport(self) -> Transport:
        """A way to speak to it. Raises: Invalid, when nothing can be behind the URL."""
        if urlsplit(self.url).scheme in ("http", "https"):
            return HttpTransport(self.url, self._token())
        repository = LocalRepository(Path(self._scripts or self._settings.scripts))
        return DirectTransport(self.url, repository, blobs=self._settings.blobs)

    def _token(self) -> Callable[[], str | None]:
        given = self._given_token
        if given is None and self._settings.token is not None:
            given = self._settings.token.get_secret_value()
        return self._left_token if given is None else lambda: given

    def _left_token(self) -> str | None:
        """The token of a gateway on this machine, when it is the one spoken to."""
        left = self._left()
        return left.token if left and left.url.rstrip("/") == self.url.rstrip("/") else None

    def _left(self) -> Told | None:
        """What the file says, or last said: a gateway that is being restarted takes it away for a moment."""
        with contextlib.suppress(OSError, Invalid):  # no gateway runs here, or it is not ours to know of
            status = self._settings.token_file.stat()
            stamp = (status.st_ino, status.st_mtime_ns)
            if self._known is None or self._known[0] != stamp:
                self._known = (stamp, read(self._settings.token_file))
        return self._known[1] if self._known else None

    @cached_property
    def _settings(self) -> Settings:
        return Settings.load()
