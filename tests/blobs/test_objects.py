"""Objects of a bucket."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pumasi.broker.places import place as from_url
from pumasi.broker.places.base import Place
from pumasi.errors import Error, Invalid, Unavailable
from tests.blobs.law import Law
from tests.servers import free_port
from tests.servers.s3 import CREDENTIALS, S3Server, shared

_numbers = itertools.count()


@pytest.fixture
def place() -> Place:
    place = from_url(shared().place(f"of {next(_numbers)}/품"))
    place.check()
    return place


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server(tmp_path / "s3")
    server.start()
    yield server
    server.stop()


class TestObjects(Law):
    pass


def refused(place: Place) -> list[Error]:
    """What each call says, at first."""
    errors = []
    for call in (place.check, lambda: place.put("result/a/1", b"1"), lambda: place.find("result/a/1"),
                 lambda: next(place.items(""))):  # fmt: skip
        with pytest.raises(Error) as raised:
            call()
        errors.append(raised.value)
        assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in str(raised.value)
        assert CREDENTIALS["AWS_ACCESS_KEY_ID"] not in str(raised.value)
    return errors


def test_a_bucket_that_is_not_there_is_told_at_start() -> None:
    for error in refused(from_url(shared().place("", bucket="none"))):
        assert isinstance(error, Invalid) and "there is no bucket" in str(error)


def test_a_login_that_is_refused_is_told_at_start(tmp_path: Path) -> None:
    server = S3Server(tmp_path / "strict", strict=True)
    server.start()
    try:
        for error in refused(from_url(server.url)):
            assert isinstance(error, Invalid) and "refuses the login" in str(error)
    finally:
        server.stop()


def test_credentials_that_are_not_there_are_told_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    for error in refused(from_url(shared().place("x"))):
        assert isinstance(error, Invalid) and "no credentials" in str(error)


def test_a_server_that_is_not_there_is_waited_for() -> None:
    url = f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}"
    for error in refused(from_url(url)):
        assert isinstance(error, Unavailable) and "does not answer" in str(error)


def test_a_server_may_go_and_come_back(server: S3Server) -> None:
    place = from_url(server.place("x"))
    place.check()
    place.put("result/a/1", b"1")
    server.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        place.find("result/a/1")
    server.start()
    place.put("result/a/1", b"2")  # moto has forgotten what it kept
    assert [item.key for items in place.items("") for item in items] == ["result/a/1"]


def test_what_was_right_at_start_is_waited_for_later(server: S3Server) -> None:
    place = from_url(server.place("x"))
    place.check()
    server.stop()
    server.strict = True
    server.start()
    with pytest.raises(Unavailable, match="refuses the login"):
        place.put("result/a/1", b"1")


def test_a_process_that_used_it_ends_in_peace() -> None:
    source = """
import asyncio, sys
from pumasi.broker import connect
async def main():
    async with connect("memory://", blobs=sys.argv[1]) as broker:
        await broker.put_blob("result/a/1", b"1" * 7_000_000)
        assert len(await broker.get_blob("result/a/1")) == 7_000_000
asyncio.run(main())
"""
    for n in range(5):
        subprocess.run([sys.executable, "-c", source, shared().place(f"peace-{n}")], check=True)
