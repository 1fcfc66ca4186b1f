"""The one gate through which the driver's errors pass: what may go away is Unavailable, what will not is Invalid.

While a connection is made, libpq hands on only the server's sentence, in the server's language: it is told apart by the
words that PostgreSQL uses in English and Korean; what is not known is taken to pass.
"""

import re

from psycopg import errors

from pumasi.broker.postgres.target import DEADLINE, Target
from pumasi.errors import Error, Invalid, Unavailable

_Text = tuple[type[Error], str]

#: what is said while a connection is made
_REFUSALS: tuple[tuple[str, _Text], ...] = (
    (
        r"password authentication failed|no password supplied|password 인증을 실패",
        (Invalid, "PostgreSQL at {place} refuses this user or password; correct them in the broker URL"),
    ),
    (
        r"(role|롤\(role\)).*(does not exist|없음)|롤\(role\) 없음",
        (Invalid, "PostgreSQL at {place} knows no such user; correct the broker URL, or run CREATE ROLE"),
    ),
    (
        r"database .* does not exist|데이터베이스 없음",
        (Invalid, "there is no such database at {place}; correct the broker URL, or run: createdb {database}"),
    ),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf 파일에 없|authentication failed|permission denied for database",
        (Invalid, "PostgreSQL at {place} lets this user in neither from here nor like this: {detail}"),
    ),
    (
        r"invalid .*(value|port number)|지정한 값이 .*잘못",
        (Invalid, "an option of the PostgreSQL URL has a value that cannot be used: {detail}"),
    ),
    (
        r"too many (clients|connections)|remaining connection slots|최대 (동시 )?접속|남은 연결 슬롯",
        (
            Unavailable,
            "PostgreSQL at {place} takes no more connections; raise max_connections there, or put PgBouncer before it",
        ),
    ),
)

_READ_ONLY = "PostgreSQL at {place} is read-only (a standby?); name the primary, or add target_session_attrs=read-write"

#: by the SQLSTATE, or how it begins; the longest is looked up first
_STATES: dict[str, _Text] = {
    "53100": (Unavailable, "there is no room on the disk of PostgreSQL at {place}; free space there, then try again"),
    "53300": (
        Unavailable,
        "PostgreSQL at {place} takes no more connections; raise max_connections there, or put PgBouncer before it",
    ),
    "25006": (Unavailable, _READ_ONLY),
    "57014": (Unavailable, "PostgreSQL at {place} took too long to answer; it is busy, or something holds a lock"),
    "55P03": (Unavailable, "PostgreSQL at {place} took too long to answer; it is busy, or something holds a lock"),
    "28": (Invalid, "PostgreSQL at {place} refuses this user or password; correct them in the broker URL"),
    "3D000": (Invalid, "there is no such database at {place}; correct the broker URL, or run: createdb {database}"),
    "42501": (
        Invalid,
        "this user may not work in the schema {schema} at {place} ({detail}); as its owner run: "
        "GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {user}; "
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {user}",
    ),
    "42P01": (Unavailable, "the tables in the schema {schema} at {place} are gone; start Pumasi anew to make them"),
    "42883": (Unavailable, "the tables in the schema {schema} at {place} are gone; start Pumasi anew to make them"),
    "3F000": (Unavailable, "the tables in the schema {schema} at {place} are gone; start Pumasi anew to make them"),
    "54": (Invalid, "this is larger than the PostgreSQL broker can keep"),
    "22003": (Invalid, "a number is larger than the PostgreSQL broker can keep"),
    "22021": (Invalid, "a name holds a character that PostgreSQL cannot keep (U+0000); leave it out"),
}

NO_TEXT = "a text is no valid Unicode; leave out lone surrogates"

#: after these nothing was done, and the same may be asked again at once
REPEATABLE = (errors.DeadlockDetected, errors.SerializationFailure)
#: a claim that needs keys which others are at: the error names one
KEY_IS_HELD = "PU001"


def refused(error: BaseException, target: Target) -> Error:
    """Our error for a connection that could not be made."""
    detail = _one_line(str(error), target)
    for words, (kind, text) in _REFUSALS:
        if re.search(words, detail):
            return _said(kind, text, detail, target)
    if state := getattr(error, "sqlstate", None):
        return translated(error, target) if _known(state) else _said(Unavailable, _UNREACHED, detail, target)
    return _said(Unavailable, _UNREACHED, detail, target)


_UNREACHED = "PostgreSQL at {place} cannot be reached: {detail}"


def translated(error: BaseException, target: Target) -> Error:
    """Our error for one of the driver's."""
    detail = _one_line(str(error), target)
    if isinstance(error, TimeoutError):
        text = "PostgreSQL at {place} has not answered within {seconds:g} s; it is out of reach, or overloaded"
        return _said(Unavailable, text, detail, target)
    if isinstance(error, UnicodeEncodeError):
        return Invalid(NO_TEXT)
    if known := _known(getattr(error, "sqlstate", None) or ""):
        return _said(*known, detail, target)
    if isinstance(error, errors.DataError) and "NUL" in str(error):
        return _said(*_STATES["22021"], detail, target)
    return _said(Unavailable, "PostgreSQL at {place} failed: {detail}", detail, target)


def read_only(target: Target) -> Error:
    """What is said of a server that nothing can be written to."""
    return _said(Unavailable, _READ_ONLY, "", target)


def _known(state: str) -> _Text | None:
    return next((_STATES[state[:n]] for n in range(len(state), 1, -1) if state[:n] in _STATES), None)


def _said(kind: type[Error], text: str, detail: str, target: Target) -> Error:
    given = target.parameters
    user = given.get("user", "")
    return kind(
        text,
        place=target.name,
        detail=detail,
        schema=target.schema,
        user=user,
        database=given.get("dbname") or user,
        seconds=DEADLINE,
    )


def _one_line(text: str, target: Target) -> str:
    return target.hidden(" ".join(text.split()))
