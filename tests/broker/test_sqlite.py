"""The SQLite broker keeps the law."""

from pathlib import Path

import pytest

from pumasi.broker.bell import SocketBell
from pumasi.broker.sqlite import SqliteStore
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance


class TestSqlite(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock, tmp_path: Path) -> Backend:
        file = str(tmp_path / "pumasi.db")
        return Backend(
            clock,
            lambda **settings: StoreBroker(
                SqliteStore(file, clock), SocketBell(f"{file}.bell"), url=f"sqlite:///{file}", **settings
            ),
        )
