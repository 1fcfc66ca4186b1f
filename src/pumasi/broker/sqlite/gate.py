"""The one gate through which the driver's errors pass: what may go away is Unavailable, what will not is Invalid."""

import apsw

from pumasi.errors import Error, Invalid, Unavailable

#: seconds to wait for another process to let go of the file
BUSY = 10.0

_TEXTS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[Error], str], ...] = (
    (
        (apsw.BusyError, apsw.LockedError, apsw.ProtocolError),
        Unavailable,
        "{path} has been locked by another process for {seconds:g} s; try again, or end that process",
    ),
    (apsw.FullError, Unavailable, "there is no room to write {path}; free space on its disk, then try again"),
    (
        (apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError),
        Invalid,
        "{path} cannot be written; make the file and its folder writable for this user, or name another file",
    ),
    (
        apsw.CantOpenError,
        Invalid,
        "{path} cannot be opened; this user must be able to read and write the file and its folder",
    ),
    (apsw.NotADBError, Invalid, "{path} is no SQLite database; move it away, or name another file"),
    (
        apsw.CorruptError,
        Invalid,
        "{path} is damaged ({detail}); move it away together with its -wal and -shm files, and restore a backup",
    ),
    (apsw.IOError, Unavailable, "{path} could not be read or written ({detail}); check its disk, then try again"),
    (apsw.TooBigError, Invalid, "this is larger than the SQLite broker can keep"),
    (apsw.Error, Unavailable, "the SQLite broker at {path} failed: {detail}"),
    (UnicodeEncodeError, Invalid, "a text is no valid Unicode; leave out lone surrogates"),
    (OverflowError, Invalid, "a number is larger than the SQLite broker can keep"),
)

#: after these the connection is made anew
BROKEN = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.CantOpenError, apsw.ReadOnlyError)


def translated(error: BaseException, path: str, *, running: bool) -> BaseException:
    """Our error for one of the driver's; others pass unchanged. What breaks while `running` may be mended."""
    for kinds, ours, text in _TEXTS:
        if isinstance(error, kinds):
            kind = Unavailable if running and isinstance(error, BROKEN) else ours
            known = kind(text, path=path, detail=str(error), seconds=BUSY)
            known.__cause__ = error
            return known
    return error
