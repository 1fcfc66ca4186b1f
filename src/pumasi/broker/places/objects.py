"""A bucket of S3, or of whatever speaks its language, below a prefix.

The driver's blocking calls are used: its coroutines call into an interpreter that may be ending, and abort it.
Credentials come from the environment, as everywhere; they are part of no URL, name or message.
"""

import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from pumasi.broker.places.base import DEADLINE, STEP, Found, Item, Place
from pumasi.broker.places.keys import quoted, unquoted
from pumasi.errors import Error, Invalid, Unavailable

#: seconds for one attempt to connect: all of them end before the deadline, and say why
_CONNECT = 3.0
#: no single answer takes longer, however large it is
_LONGEST = 900.0
_LONGEST_KEY = 1024

_LOGIN = "S3 refuses the login to {place} ({code}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_RIGHTS = (
    "S3 does not allow what Pumasi needs in {place} ({code}); allow s3:ListBucket for the bucket, and s3:GetObject, "
    "s3:PutObject and s3:DeleteObject below the prefix"
)
_BUCKET = "there is no bucket for {place}; make it, or name another one in PUMASI_BLOBS"
_REGION = "the bucket of {place} is in another region ({code}); add ?region=… to PUMASI_BLOBS, or set AWS_REGION"
#: by the code of the server's answer: what a setting can put right
_TEXTS = {
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AccessDenied": _RIGHTS,
    "AllAccessDisabled": _RIGHTS,
    "InvalidAccessKeyId": _LOGIN,
    "SignatureDoesNotMatch": _LOGIN,
    "ExpiredToken": _LOGIN,
    "InvalidToken": _LOGIN,
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "403": _RIGHTS,
    "401": _LOGIN,
    "301": _REGION,
}
#: in the addresses at which a host is asked for the credentials of its role, when there are no others
_ROLES = ("/latest/api/token", "/latest/meta-data/", "/v2/credentials/")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")


class ObjectPlace(Place):
    """Objects, named after their keys."""

    def __init__(self, bucket: str, prefix: str, *, endpoint: str | None = None, region: str | None = None) -> None:
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._driver = _driver()
        options = {"endpoint": endpoint, "region": region, "prefix": prefix}
        client = {
            "allow_http": (endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=_CONNECT),
            "read_timeout": timedelta(seconds=DEADLINE),
            "timeout": timedelta(seconds=_LONGEST),
        }
        try:
            self._bucket = self._driver.store.S3Store(
                bucket,
                client_options=client,
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=DEADLINE)},
                **{name: value for name, value in options.items() if value},
            )
        except Exception as error:
            text = "{place} cannot be used as it is set; see PUMASI_BLOBS, and the variables AWS_… of the environment"
            raise Invalid(text, place=self.name) from error

    def check(self) -> None:
        with self._gate():
            next(iter(self._driver.list(self._bucket, chunk_size=1)), None)
        self.proven = True

    def put(self, key: str, data: bytes) -> None:
        path = _path(key)
        with self._gate():
            self._driver.put(self._bucket, path, data, max_concurrency=2)

    def find(self, key: str) -> Found | None:
        with contextlib.suppress(FileNotFoundError), self._gate():
            found = self._driver.get(self._bucket, _path(key))

            def read() -> bytes:
                with self._gate():
                    return bytes(found.bytes())

            return Found(found.meta["size"], read)
        return None

    def items(self, prefix: str) -> Iterator[list[Item]]:
        # the driver lists below whole parts of a path
        folder = _path(prefix, listed=True).rpartition("/")[0]
        with self._gate():
            for batch in self._driver.list(self._bucket, folder or None, chunk_size=STEP):
                items = [Item(unquoted(one["path"]), one["size"], one["last_modified"].timestamp()) for one in batch]
                yield [item for item in items if item.key.startswith(prefix)]

    def delete(self, item: Item) -> None:
        path = _path(item.key)
        with contextlib.suppress(FileNotFoundError), self._gate():
            if self._driver.head(self._bucket, path)["last_modified"].timestamp() == item.at:
                self._driver.delete(self._bucket, path)

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        """Errors of the driver become ours, but for that of a thing that is not there."""
        try:
            yield
        except Error:
            raise
        except FileNotFoundError as error:
            if _code(error) in ("NoSuchKey", "404"):
                raise
            raise self._meaning(error) from error
        except Exception as error:
            raise self._meaning(error) from error

    def _meaning(self, error: Exception) -> Error:
        code, text = _code(error), str(error)
        if any(path in text for path in _ROLES):
            missing = "no credentials for {place}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role"
            return self.refusal(Invalid(missing, place=self.name))
        if code in _TEXTS:
            return self.refusal(Invalid(_TEXTS[code], place=self.name, code=code))
        if code:
            return Unavailable("S3 answers {code} for {place}; try again in a while", place=self.name, code=code)
        text = "S3 does not answer for {place} ({detail}); see whether its address is right, and it is up"
        return Unavailable(text, place=self.name, detail=_cause(error))


def _path(key: str, *, listed: bool = False) -> str:
    path = quoted(key)
    if len(path.encode()) > _LONGEST_KEY and not listed:
        raise Invalid("the name of a blob is too long; choose a shorter one")
    return path


def _code(error: Exception) -> str:
    """What the server says is wrong, in its own word, else its HTTP status; empty when it said nothing."""
    found = _CODE.search(str(error)) or _STATUS.search(str(error))
    return found[1] if found else ""


def _cause(error: Exception) -> str:
    """What kept it from answering, without addresses and what may be part of them."""
    kind = re.search(r"kind: (\w+)", str(error))
    return kind[1].lower() if kind else type(error).__name__


def _driver() -> Any:
    try:
        import obstore
        import obstore.store
    except ImportError as error:
        raise Invalid("blobs in S3 need a driver that is not installed: pip install 'pumasi[s3]'") from error
    return obstore
