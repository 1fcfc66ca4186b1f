"""The SQLite broker keeps the law."""

from pathlib import Path

import pytest

from pumasi.broker.bell import SocketBell
from pumasi.broker.sqlite import SqliteStore
from pumasi.broker.verbs import StoreBroker
from tests.broker.conformance import Backend, Clock, Conformance
from tests.broker.state_machine import state_machine


def handle(clock: Clock, folder: str, **settings: float) -> StoreBroker:
    """A handle on the file in that folder, with a connection and a bell of its own."""
    file = f"{folder}/pumasi.db"
    return StoreBroker(SqliteStore(file, clock), SocketBell(f"{file}.bell"), url=f"sqlite:///{file}", **settings)


class TestSqlite(Conformance):
    @pytest.fixture
    def backend(self, clock: Clock, tmp_path: Path) -> Backend:
        return Backend(clock, lambda **settings: handle(clock, str(tmp_path), **settings))


TestSqliteMachine = state_machine(handle, examples=25)
