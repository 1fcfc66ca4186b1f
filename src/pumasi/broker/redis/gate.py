"""The gate through which errors of the server and the driver pass: what may go away is Unavailable, else Invalid."""

from collections.abc import Callable
from typing import Any

from redis import exceptions as driver

from pumasi.broker.redis.wire import DEADLINE, Gone, Refusal
from pumasi.errors import Error, Invalid, Unavailable

_LOGIN = "Redis at {place} refuses the login ({detail}); check user name and password in the URL"

#: by the first word of the server's answer
_REFUSALS: dict[str, tuple[type[Error], str]] = {
    "LOADING": (Unavailable, "Redis at {place} is still loading its data; try again in a while"),
    "BUSY": (Unavailable, "Redis at {place} is busy with a long script; try again, or end that script"),
    "OOM": (Unavailable, "Redis at {place} has no memory left; raise its maxmemory, or shorten the retention"),
    "MISCONF": (Unavailable, "Redis at {place} cannot save to its disk and takes no writes; free space on its disk"),
    "READONLY": (Unavailable, "Redis at {place} is a replica and takes no writes; name its primary, or its sentinels"),
    "MASTERDOWN": (Unavailable, "Redis at {place} has lost its primary; try again once there is a new one"),
    "NOREPLICAS": (Unavailable, "Redis at {place} has too few replicas to take writes; try again once they are back"),
    "CLUSTERDOWN": (Unavailable, "the Redis cluster at {place} is down; try again once it is whole"),
    "ASK": (Unavailable, "the Redis cluster at {place} is moving our keys; try again in a while"),
    "TRYAGAIN": (Unavailable, "the Redis cluster at {place} is moving our keys; try again in a while"),
    "WRONGPASS": (Invalid, _LOGIN),
    "NOAUTH": (Invalid, "Redis at {place} asks for a password; put it into the URL: redis://:PASSWORD@HOST"),
    "NOPERM": (Invalid, "Redis at {place} does not allow this user a command ({detail}); extend its rights (ACL)"),
    "WRONGTYPE": (Invalid, "keys at {place} hold something else than ours; choose another prefix"),
}
_SENTINELS = (Unavailable, "the sentinels at {place} know no primary that is up ({detail}); try again in a while")
_BY_TEXT: tuple[tuple[str, tuple[type[Error], str]], ...] = (
    ("max number of clients", (Unavailable, "Redis at {place} takes no more connections; raise its maxclients")),
    ("index is out of range", (Invalid, "Redis at {place} has no database of this number; name another in the URL")),
    ("SELECT is not allowed in cluster mode", (Invalid, "a Redis cluster has database 0 only; leave the number out")),
    ("without any password configured", (Invalid, _LOGIN)),
    ("No master found", _SENTINELS),
    ("No such master", (Unavailable, "the sentinels at {place} know no such service; check its name in the URL")),
)
_OTHER = (Unavailable, "Redis at {place} failed: {detail}")
_GONE = (Unavailable, "Redis at {place} did not answer ({detail}); try again")
_REACH = (Unavailable, "Redis at {place} cannot be reached: {detail}")
_TEXT = (Invalid, "a text is no valid Unicode; leave out lone surrogates")


def translated(error: BaseException, place: str) -> BaseException:
    """Our error for one of the server's, the driver's or the connection's; others pass unchanged."""
    for kinds, meaning in _KINDS:
        if isinstance(error, kinds):
            ours, text = meaning(error)
            known = ours(text, place=place, detail=_shown(error), seconds=DEADLINE)
            known.__cause__ = error
            return known
    return error


def _refused(error: Any) -> tuple[type[Error], str]:
    text = str(error)
    # an error inside a script is told with the name of the script in front, or behind
    for word in text.replace(":", " ").split():
        if word in _REFUSALS:
            return _REFUSALS[word]
    return next((meaning for part, meaning in _BY_TEXT if part in text), _OTHER)


def _of_driver(error: Any) -> tuple[type[Error], str]:
    code = getattr(error, "status_code", None)
    if code in _REFUSALS:
        return _REFUSALS[code]
    if isinstance(error, driver.AuthenticationError):
        return Invalid, _LOGIN
    found = _refused(error)
    return _REACH if found is _OTHER and isinstance(error, driver.ConnectionError) else found


def _shown(error: BaseException) -> str:
    return str(error) or type(error).__name__


_KINDS: tuple[
    tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[Any], tuple[type[Error], str]]], ...
] = (
    (Refusal, _refused),
    (Gone, lambda _: _GONE),
    (driver.RedisError, _of_driver),
    (UnicodeEncodeError, lambda _: _TEXT),
    (OSError, lambda _: _REACH),
)
