"""What tests of places share."""

import pytest

from tests.servers.s3 import CREDENTIALS


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the tests' own server; none of the shell's reach it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
