"""Places for large things outside the store: a folder, or a bucket of S3.

Theory of operation. The blobs of jobs (results, artifacts, logs) may be too much for a store that keeps all in memory,
or in a database that somebody backs up every night. With a place they lie there, and the store holds what it needs to
decide. Scripts' bundles stay in the store, whatever is set: they are small, and which of them a job still needs is
known in one step only there.

    base.py       what a place must be able to do: blocking calls, no knowledge of jobs
    keys.py       keys as safe paths
    folder.py     files of a folder
    objects.py    objects of a bucket
    outside.py    a place as coroutines see it: threads, deadlines
    blobs.py      where a broker keeps blobs, with a place or without one
    keeping.py    forgetting what no job needs any more
"""

import os
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from pumasi.broker.places.base import Place
from pumasi.errors import Invalid

_OPTIONS = ("endpoint", "region")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


def place(url: str) -> Place:
    """The place behind a URL, not yet used: `file:///var/lib/pumasi/blobs`, `s3://bucket/prefix?endpoint=…&region=…`.

    Raises: Invalid (no such place, a driver that is not installed).
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme == "file":
        return _folder(url)
    if separator and scheme == "s3":
        return _bucket(url)
    # only the scheme is shown: what follows may hold a password
    text = "{url!r} is no place for blobs; write file:///FOLDER or s3://BUCKET/PREFIX in PUMASI_BLOBS"
    raise Invalid(text, url=f"{scheme}://…" if separator else url)


def _folder(url: str) -> Place:
    from pumasi.broker.places.folder import FolderPlace

    folder = unquote(url.removeprefix("file://"))
    if not folder.startswith("/") or "\0" in folder or os.path.normpath(folder) in ("/", "//"):
        raise Invalid("a folder for blobs is named from the root on: PUMASI_BLOBS=file:///var/lib/pumasi/blobs")
    return FolderPlace(os.path.normpath(folder))


def _bucket(url: str) -> Place:
    from pumasi.broker.places.objects import ObjectPlace

    parts = urlsplit(url)
    if "@" in parts.netloc:
        text = "credentials are no part of an S3 URL; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        raise Invalid(text)
    if not _BUCKET.fullmatch(parts.netloc):
        raise Invalid("an S3 URL names a bucket: PUMASI_BLOBS=s3://BUCKET/PREFIX")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise Invalid("an S3 URL has no option {name!r}; there are {known}", name=name, known=", ".join(_OPTIONS))
    endpoint = options.get("endpoint")
    if endpoint is not None and not re.fullmatch(r"https?://[^/@\s]+/?", endpoint):
        raise Invalid("the endpoint of an S3 URL is http://HOST:PORT or https://HOST, without credentials")
    prefix = "/".join(part for part in unquote(parts.path).split("/") if part)
    return ObjectPlace(parts.netloc, prefix, endpoint=endpoint, region=options.get("region"))


__all__ = ["Place", "place"]
