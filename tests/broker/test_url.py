"""From a URL to a broker."""

import sys

import pytest

from pumasi.broker import connect
from pumasi.core.job import State
from pumasi.errors import Invalid
from tests.broker.conformance.base import submitted


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://guest:guest@localhost", "the RabbitMQ backend does not exist yet"),
        ("mongodb://user:secret%zz@host/x", "this is no MongoDB URL"),
        ("mongodb://user:se:cret@host", "this is no MongoDB URL"),
        ("mongodb://", "this is no MongoDB URL"),
        ("mongodb://host:99999", "this is no MongoDB URL"),
        ("mongodb://host/a.b", "a MongoDB database has a name"),
        ("mongodb://host/x?collection=pumasi_jobs", "option collection of a MongoDB URL"),
        ("mongodb://host/x?timeoutMS=secret", "option 'timeoutMS' of a MongoDB URL"),
        ("mongodb://user:secret@host/x?lesase=5", "has no option 'lesase'"),
        ("mongodb+srv://user:secret@host/x?lease=soon", "is a number above 0"),
        ("postgresql://user:secret%zz@host/x", "cannot be read"),
        ("postgres://host/x?schema=Drop%20Table", "a schema has a name"),
        ("postgresql://user:secret@host/x?lesase=5", "has no option 'lesase'"),
        ("postgresql://host/x?lease=soon", "is a number above 0"),
        ("nonsense", "is no broker"),
        ("", "is no broker"),
        ("sqlite", "is no broker"),
        ("sqlite:pumasi.db", "is no broker"),
        ("ftp://user:secret@host", "is no broker"),
        ("sqlite:///", "names a file"),
        ("sqlite://", "names a file"),
        ("memory://?lease=soon", "is a number above 0"),
        ("memory://?lease=0", "is a number above 0"),
        ("memory://?lease=nan", "is a number above 0"),
        ("memory://?retention=-1", "is a number above 0"),
        ("memory://?max_pending=inf", "is a number above 0"),
        ("memory://?leese=5", "has no option 'leese'"),
    ],
)
def test_what_is_no_broker_says_why(url: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        connect(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://user:secret@one:27018,two/x?replicaSet=rs&lease=5", "mongodb://one:27018,two/x"),
        ("mongodb://host", "mongodb://host/job_db"),
        (
            "mongodb+srv://user:secret@cluster.example/?collection=tasks",
            "mongodb+srv://cluster.example/job_db?collection=tasks",
        ),
    ],
)
def test_a_url_of_mongodb_is_shown_without_secrets(url: str, shown: str) -> None:
    assert connect(url).url == shown


def test_options() -> None:
    broker = connect("memory://?lease=2.5&max_pending=7&retention=60")
    assert (broker.lease, broker.max_pending, broker.retention) == (2.5, 7, 60.0)  # type: ignore[attr-defined]


async def test_a_named_memory_is_shared_and_a_nameless_one_is_not() -> None:
    async with connect("memory://shared-by-this-test") as one, connect("memory://shared-by-this-test") as two:
        await submitted(one, "a")
        assert (await two.get("a")).id == "a"
    async with connect("memory://") as one, connect("memory://") as two:
        await submitted(one, "a")
        assert await two.queues() == []


def test_how_long_is_kept_by_how_it_ended() -> None:
    defaults = {"retention": 100.0, "retention_failed": 200.0}
    broker = connect("memory://?retention_failed=300&retention_cancelled=0", defaults=defaults)
    assert broker.retention == 100
    assert broker.retentions == {State.FAILED: 300, State.CANCELLED: 0}


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [
        ("redis://localhost", "redis", "redis"),
        ("postgresql://localhost/db", "psycopg", "postgres"),
        ("mongodb://localhost/db", "pymongo", "mongodb"),
    ],
)
def test_without_its_driver_a_backend_says_what_to_install(
    url: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith((f"pumasi.broker.{extra}", f"{driver}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(Invalid, match=rf"pip install 'pumasi\[{extra}\]'"):
        connect(url)
