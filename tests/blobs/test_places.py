"""From a URL to a place."""

import sys

import pytest

from pumasi.broker import connect
from pumasi.broker.places import place
from pumasi.broker.places.folder import FolderPlace
from pumasi.broker.places.objects import ObjectPlace
from pumasi.config import Settings
from pumasi.errors import Invalid


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is no place for blobs"),
        ("blobs", "is no place for blobs"),
        ("/var/lib/blobs", "is no place for blobs"),
        ("ftp://user:secret@host/x", "is no place for blobs"),
        ("file://", "named from the root on"),
        ("file:///", "named from the root on"),
        ("file:///..", "named from the root on"),
        ("file://host/x", "named from the root on"),
        ("s3://", "names a bucket"),
        ("s3:///prefix", "names a bucket"),
        ("s3://Bucket/x", "names a bucket"),
        ("s3://bucket/a/../b", "cannot be used as it is set"),
        ("s3://AKIA:secret@bucket/x", "credentials are no part"),
        ("s3://bucket?region=x&secret=secret", "has no option 'secret'"),
        ("s3://bucket?endpoint=minio:9000", "the endpoint of an S3 URL"),
        ("s3://bucket?endpoint=http://user:secret@minio", "without credentials"),
    ],
)
def test_what_is_no_place_says_why(url: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        place(url)
    assert ":secret" not in str(refused.value)


def test_a_place_has_a_name_for_people() -> None:
    assert place("file:///var/lib//pumasi/my%20blobs/").name == "file:///var/lib/pumasi/my blobs"
    named = place("s3://bucket//some/prefix/?endpoint=http://127.0.0.1:1&region=eu-west-1")
    assert named.name == "s3://bucket/some/prefix"


def test_the_scheme_says_which() -> None:
    assert isinstance(place("file:///x"), FolderPlace)
    assert isinstance(place("s3://bucket"), ObjectPlace)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(Invalid, match=r"pip install 'pumasi\[s3\]'"):
        place("s3://bucket")


def test_a_wrong_setting_is_told_at_start() -> None:
    with pytest.raises(Invalid, match="is no place for blobs"):
        connect("memory://", blobs="nonsense")


def test_it_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().blobs is None
    monkeypatch.setenv("PUMASI_BLOBS", "file:///x")
    assert Settings.load().blobs == "file:///x"
