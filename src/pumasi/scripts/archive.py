"""Bundles as zip archives, deterministic going out and distrusted coming in.

The reader takes what `pack` writes and very little else: regular files, stored or deflated, each name once. It reads
the central directory itself, because what general readers forgive (names cut at a NUL, entries that overlap, sizes that
lie) is what attacks are made of. It holds every bound before it spends memory on it.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator

from msgspec import Struct

from pumasi.errors import FetchFault, Invalid
from pumasi.scripts.paths import MAX_BYTES, MAX_FILES, check_paths, check_size

_EPOCH = (1980, 1, 1, 0, 0, 0)
_TAIL = struct.Struct("<4s4H2LH")  # end of the central directory
_ENTRY = struct.Struct("<4s4B4HL2L5H2L")  # an entry of it
_HEADER = struct.Struct("<4s2B4HL2L2H")  # what stands before each file's data
_UTF8, _ENCRYPTED = 0x800, 0x1
_STORED, _DEFLATED = 0, 8


class _Entry(Struct, frozen=True):
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    offset: int


def pack(files: dict[str, bytes]) -> bytes:
    """The files as a zip archive; equal files give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(files):
            info = zipfile.ZipInfo(path, _EPOCH)
            info.create_system = 3  # Unix, wherever it was packed
            info.external_attr = (stat.S_IFREG | 0o444) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[path])
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of an archive.

    Raises:
        FetchFault: it is damaged, or holds anything but regular files with proper paths within the bounds of a script.
    """
    try:
        entries = list(_entries(data))
        check_paths(entry.name for entry in entries)
        if len({entry.name for entry in entries}) != len(entries):
            raise _bad("a path stands in it twice")
        if sum(entry.size for entry in entries) > MAX_BYTES:
            raise _bad("its files are larger together than a script may be")
        files = {entry.name: _content(data, entry) for entry in entries}
        check_size(files)
    except (struct.error, zlib.error, UnicodeDecodeError) as error:
        raise _bad(str(error)) from None
    except Invalid as error:
        raise _bad(str(error)) from None
    return files


def _entries(data: bytes) -> Iterator[_Entry]:
    """The central directory, entry by entry, each looked at before it is believed."""
    start = len(data) - _TAIL.size
    if start < 0 or data[start : start + 4] != b"PK\5\6":
        raise _bad("it is no zip archive, or is cut off")
    _, disk, first, here, count, length, offset, comment = _TAIL.unpack_from(data, start)
    if disk or first or comment or here != count or offset + length != start:
        raise _bad("its directory is not where it says")
    if count > MAX_FILES:
        raise _bad(f"it has {count} files; {MAX_FILES} are allowed")
    for _ in range(count):
        entry, offset = _entry(data, offset)
        yield entry
    if offset != start:
        raise _bad("its directory is not as long as it says")


def _entry(data: bytes, at: int) -> tuple[_Entry, int]:
    (
        magic,
        _,
        system,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc,
        packed,
        size,
        name_len,
        extra_len,
        comment_len,
        disk,
        _,
        attr,
        offset,
    ) = _ENTRY.unpack_from(data, at)
    end = at + _ENTRY.size + name_len
    if magic != b"PK\1\2" or disk or end > len(data):
        raise _bad("an entry of its directory is damaged")
    name = data[at + _ENTRY.size : end].decode("utf-8" if flags & _UTF8 else "ascii")
    mode = attr >> 16 if system == 3 else 0
    entry = _Entry(name, flags, method, crc, packed, size, mode, offset)
    if name.endswith("/") or (mode and not stat.S_ISREG(mode)):
        raise _bad(f"{name[:200]!r} is no regular file")
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise _bad(f"{name[:200]!r} is encrypted, or packed in a way we do not read")
    return entry, end + extra_len + comment_len


def _content(data: bytes, entry: _Entry) -> bytes:
    magic, *_, name_len, extra_len = _HEADER.unpack_from(data, entry.offset)
    start = entry.offset + _HEADER.size + name_len + extra_len
    packed = data[start : start + entry.packed]
    if magic != b"PK\3\4" or len(packed) != entry.packed:
        raise _bad(f"{entry.name[:200]!r} is cut off")
    content = packed if entry.method == _STORED else _inflated(packed, entry)
    if len(content) != entry.size or zlib.crc32(content) != entry.crc:
        raise _bad(f"{entry.name[:200]!r} is damaged")
    return content


def _inflated(packed: bytes, entry: _Entry) -> bytes:
    stream = zlib.decompressobj(-15)
    # One byte more than it says it has is enough to catch it lying; 0 would mean no bound.
    return stream.decompress(packed, entry.size + 1)


def _bad(problem: str) -> FetchFault:
    return FetchFault("the bundle of a script cannot be read: {problem}", problem=problem)
