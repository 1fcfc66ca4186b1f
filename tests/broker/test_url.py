"""From a URL to a broker."""

import pytest

from pumasi.broker import connect
from pumasi.errors import Invalid
from tests.broker.conformance.base import submitted


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://localhost", "the Redis backend does not exist yet"),
        ("rediss://localhost", "the Redis backend"),
        ("amqp://guest:guest@localhost", "the RabbitMQ backend"),
        ("mongodb+srv://x", "the MongoDB backend"),
        ("postgresql://x", "the PostgreSQL backend"),
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
