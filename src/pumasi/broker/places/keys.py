"""Keys as paths, and back: artifacts have names that scripts chose, and no name may lead out of the place.

Parts of a key are kept readable. What is not printable, or means something to a file system, is written as %XX; so are
the names `.` and `..`. A part that is empty is `%_`.
"""

import re
from urllib.parse import quote, unquote

from pumasi.errors import Invalid

#: what belongs to a job, named after it: KIND/<job>/…
KINDS = ("result", "artifact", "log")
_ODD = re.compile(r'[%+\\:*?"<>|]')
_EMPTY = "%_"
#: the mark of a file: no file stands where another key needs a folder
_FILE = ".blob"
#: bytes of a name, which no file system refuses
_LONGEST = 200
#: the mark of a folder whose name goes on in the next one
_GOES_ON = "+"


def is_of_job(key: str) -> bool:
    """Whether a key is that of a job's blob."""
    kind, _, rest = key.partition("/")
    return kind in KINDS and bool(rest)


def job_of(key: str) -> str:
    """The id of the job whose blob has this key."""
    return key.split("/")[1]


def quoted(key: str) -> str:
    """The key as a path whose parts are safe names. Raises: Invalid."""
    try:
        return "/".join(map(_quoted, key.split("/")))
    except UnicodeEncodeError as error:
        raise Invalid("a text is no valid Unicode; leave out lone surrogates") from error


def unquoted(path: str) -> str:
    """The key of such a path."""
    return "/".join("" if part == _EMPTY else unquote(part) for part in path.split("/"))


def file_of(key: str) -> str:
    """The path of the key's file below a folder: long names are cut into folders. Raises: Invalid."""
    *folders, name = quoted(key).split("/")
    return "/".join([*(_cut(_unlike_file(folder)) for folder in folders), f"{_cut(name)}{_FILE}"])


def folder_of(prefix: str) -> str:
    """The folder below which the keys with this prefix have their files; as `file_of`, but for what follows the last
    slash."""
    return file_of(prefix).rpartition("/")[0]


def key_of(file: str) -> str | None:
    """The key of a file's path below the folder; None for a file that is none of ours."""
    return unquoted(file.removesuffix(_FILE).replace(f"{_GOES_ON}/", "")) if file.endswith(_FILE) else None


def _quoted(part: str) -> str:
    if part in ("", ".", ".."):
        return part.replace(".", "%2E") or _EMPTY
    return "".join(char if _is_plain(char) else quote(char, safe="") for char in part)


def _is_plain(char: str) -> bool:
    return char.isprintable() and not _ODD.match(char)


def _unlike_file(folder: str) -> str:
    return f"{folder.removesuffix(_FILE)}%2Eblob" if folder.endswith(_FILE) else folder


def _cut(part: str) -> str:
    """The name, in pieces that are short enough; none begins with a dot, so none is hidden, or leads upwards."""
    pieces, size = [""], 0
    for char in part:
        size += len(char.encode())
        if size > _LONGEST:
            pieces.append("")
            size = len(char.encode())
        pieces[-1] += char
    return f"{_GOES_ON}/".join(f"%2E{piece[1:]}" if piece.startswith(".") else piece for piece in pieces)
