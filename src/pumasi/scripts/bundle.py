"""A script as it travels and is kept: a set of files, named by the digest of its content.

A bundle is a dict of paths (relative, with `/`) to bytes. The path of the file that is run, or of the manifest that
names a command to run, is one of its entries (`ENTRY`, never written into the script's folder), so that two scripts
that share all their files are still two.
"""

import hashlib

from pumasi.errors import Invalid
from pumasi.scripts.archive import pack, unpack
from pumasi.scripts.manifest import Manifest, read_manifest
from pumasi.scripts.paths import MAX_BYTES, MAX_FILES, check_paths, check_size
from pumasi.scripts.source import decode, parse

#: the entry of a bundle that names the file to run, or the manifest with the command to run
ENTRY = ".pumasi/entry_point"


def digest(files: dict[str, bytes]) -> str:
    """SHA-256 over sorted paths and contents, in hex; lengths are part of it, so nothing can shift between the two."""
    total = hashlib.sha256()
    for path, data in sorted((path.encode(), data) for path, data in files.items()):
        total.update(b"%d:%d:" % (len(path), len(data)))
        total.update(path)
        total.update(data)
    return total.hexdigest()


def with_entry(files: dict[str, bytes], entry_point: str) -> dict[str, bytes]:
    """The same files as a bundle that runs `entry_point`."""
    return {**files, ENTRY: entry_point.encode()}


def entry_of(files: dict[str, bytes]) -> str:
    """The file a bundle runs, or the manifest with its command. Raises: Invalid when it names none."""
    try:
        return files[ENTRY].decode()
    except (KeyError, UnicodeDecodeError):
        raise Invalid("the bundle does not say which file to run") from None


def check(files: dict[str, bytes], entry_point: str, name: str | None = None) -> Manifest:
    """Whether a script can be run: paths, sizes, manifest, entry point and, of Python, its syntax; gives its manifest.

    Raises:
        Invalid: naming the file, and the line where there is one.
    """
    check_paths(files)
    check_size(files)
    manifest = read_manifest(files, name or entry_point, entry_point=entry_point)
    if entry_point not in files:
        raise Invalid("the entry point {file} is not among the script's files", file=repr(entry_point))
    if manifest.entry_point not in (None, entry_point):
        raise Invalid(
            "the manifest inside {file} names another file, {stated}, to run; move it into pumasi.toml",
            file=repr(entry_point),
            stated=repr(manifest.entry_point),
        )
    if manifest.command is None:
        parse(decode(files[entry_point], entry_point), entry_point)
    return manifest


__all__ = [
    "ENTRY",
    "MAX_BYTES",
    "MAX_FILES",
    "check",
    "check_paths",
    "check_size",
    "digest",
    "entry_of",
    "pack",
    "unpack",
    "with_entry",
]
