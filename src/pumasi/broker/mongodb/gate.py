"""The one gate through which the driver's errors pass: what may go away is Unavailable, what will not is Invalid.

An error after which nobody knows whether the server has done its work (a connection that broke, a write concern that
was not met in time) is Unavailable too: every verb is safe to repeat. No text of the driver that may hold a part of the
URL is shown.
"""

import contextlib
from collections.abc import Iterator

from bson.errors import BSONError
from pymongo import errors

from pumasi.errors import Error, Invalid, Unavailable

#: codes of the server (error_codes.yml)
_DENIED = {13: "Unauthorized", 18: "AuthenticationFailed", 8000: "AtlasError"}
_NO_ROOM = {14031: "OutOfDiskSpace"}
#: BSONObjectTooLarge, KeyTooLong, and an update that makes a document too large
TOO_LARGE = frozenset({10334, 17280, 17419, 17420})

#: FailedToParse, TypeMismatch, IllegalOperation, CommandNotFound, InvalidOptions, InvalidNamespace, CommandNotSupported
_UNKNOWN = frozenset({9, 14, 20, 59, 72, 73, 115})

_TEXTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[Error], str], ...] = (
    (
        (errors.InvalidURI, errors.ConfigurationError, errors.InvalidName),
        Invalid,
        "the MongoDB URL cannot be used ({kind}); check its hosts, options and the escaping of user and password",
    ),
    (
        (errors.DocumentTooLarge, BSONError, OverflowError, UnicodeEncodeError),
        Invalid,
        "this is larger than the MongoDB broker can keep, or no valid text",
    ),
    (
        errors.InvalidOperation,
        Unavailable,
        "the MongoDB broker at {place} is not open",
    ),
    (
        (errors.ConnectionFailure, errors.WTimeoutError, errors.ExecutionTimeout, errors.WaitQueueTimeoutError),
        Unavailable,
        "MongoDB at {place} does not answer ({kind}); check that it runs and can be reached, then try again",
    ),
    (errors.PyMongoError, Unavailable, "the MongoDB broker at {place} failed ({kind}, code {code})"),
)


@contextlib.contextmanager
def gate(place: str) -> Iterator[None]:
    """Raises our errors for those of the driver; `place` says where the server is, without secrets."""
    try:
        yield
    except (errors.PyMongoError, BSONError, OverflowError, UnicodeEncodeError) as error:
        raise translated(error, place) from error


def translated(error: Exception, place: str) -> Error:
    """Our error for one of the driver's."""
    code = getattr(error, "code", None)
    kind = type(error).__name__
    if code in _DENIED:
        text = "MongoDB at {place} refuses this user ({kind}); check user, password, authSource and the user's roles"
        return Invalid(text, place=place, kind=_DENIED[code])
    if code in _NO_ROOM:
        return Unavailable("MongoDB at {place} has no room on its disk; free space there, then try again", place=place)
    if code in TOO_LARGE:
        return Invalid("this is larger than the MongoDB broker can keep, or no valid text")
    if code in _UNKNOWN:
        text = "MongoDB at {place} does not know what is asked of it (code {code}); it has to be version 4.4 or newer"
        return Invalid(text, place=place, code=code)
    for kinds, ours, text in _TEXTS:
        if isinstance(error, kinds):
            return ours(text, place=place, kind=kind, code=code)
    raise error
