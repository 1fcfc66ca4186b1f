"""Bundles: what their digest depends on, what travels, and which archives are refused."""

import io
import stat
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.errors import FetchFault, Invalid
from pumasi.scripts import bundle
from pumasi.scripts.paths import MAX_FILES

FILES = {
    "main.py": b"print(1)",
    "lib/__init__.py": b"",
    "data/\uc0c1\ud488.csv": b"a,b\n" * 1000,
    "x.bin": bytes(range(256)),
}
SEGMENT = st.text("abc\u00e9\uac00 -_.", min_size=1, max_size=6).filter(lambda text: text not in (".", ".."))
BUNDLES = st.dictionaries(st.lists(SEGMENT, min_size=1, max_size=3).map("/".join), st.binary(max_size=200), max_size=8)


def archive(*entries: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    """A zip as anybody's program writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            file.writestr(info, data)
    return out.getvalue()


def test_packing_and_unpacking() -> None:
    assert bundle.unpack(bundle.pack(FILES)) == FILES
    assert bundle.unpack(bundle.pack({})) == {}


def test_order_does_not_matter() -> None:
    backwards = dict(reversed(FILES.items()))
    assert bundle.pack(backwards) == bundle.pack(FILES)
    assert bundle.digest(backwards) == bundle.digest(FILES)


def test_an_archive_of_another_program() -> None:
    assert bundle.unpack(archive(("a.py", b"1"), ("b/c.py", b"2"))) == {"a.py": b"1", "b/c.py": b"2"}


@pytest.mark.parametrize(
    "other",
    [
        {"a": b"12"},
        {"a": b"1", "b": b""},
        {"b": b"1"},
        {"a1": b""},
        {"a": b""},
        {},
        {"a": b"1", ".pumasi/entry_point": b"a"},
    ],
)
def test_the_digest_depends_on_every_path_and_byte(other: dict[str, bytes]) -> None:
    assert bundle.digest(other) != bundle.digest({"a": b"1"})


def test_the_digest_stays_what_it_is() -> None:
    # Caches and stored jobs outlive a release.
    assert (
        bundle.digest({"main.py": b"print(1)\n"}) == "81aad8ce397c1386b052b7682250e391df354e335df2d265aeb0b52cd1e47c1b"
    )


def test_the_entry_point_is_part_of_it() -> None:
    one, other = bundle.with_entry(FILES, "main.py"), bundle.with_entry(FILES, "lib/__init__.py")
    assert bundle.digest(one) != bundle.digest(other)
    assert bundle.entry_of(one) == "main.py"
    with pytest.raises(Invalid):
        bundle.entry_of(FILES)


@given(BUNDLES)
def test_what_passes_the_check_travels_unchanged(files: dict[str, bytes]) -> None:
    try:
        bundle.check_paths(files)
    except Invalid:
        return
    assert bundle.unpack(bundle.pack(files)) == files


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "a/../../x",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "C:\\x",
        "a\nb",
        "\x1b[31m",
        "a/" + "b" * 300,
        "a/" * 600 + "b",
    ],
)
def test_paths_that_lead_astray(name: str) -> None:
    with pytest.raises(Invalid, match="is no path"):
        bundle.check_paths([name])
    with pytest.raises(FetchFault):
        bundle.unpack(archive((name, b"x")))


@pytest.mark.parametrize(
    "names",
    [
        ("A.py", "a.py"),
        ("lib/a.py", "LIB/b.py"),
        ("stra\u00dfe", "STRASSE"),
        ("e\u0301", "\u00e9"),
        ("a", "a/b"),
        ("A", "a/b"),
    ],
)
def test_names_that_clash(names: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        bundle.check_paths(names)
    with pytest.raises(FetchFault):
        bundle.unpack(archive(*((name, b"") for name in names)))


def test_a_name_twice() -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = archive(("a", b"1"), ("a", b"2"))
    with pytest.raises(FetchFault, match="twice"):
        bundle.unpack(twice)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR])
def test_only_regular_files(kind: int) -> None:
    with pytest.raises(FetchFault, match="no regular file"):
        bundle.unpack(archive(("a", b"/etc/passwd"), mode=kind | 0o777))


def test_folders_as_entries() -> None:
    with pytest.raises(FetchFault, match="no regular file"):
        bundle.unpack(archive(("a/", b"")))


def test_a_name_cut_at_a_nul() -> None:
    data = archive(("a.py_.txt", b"1")).replace(b"a.py_.txt", b"a.py\0.txt")
    with pytest.raises(FetchFault):
        bundle.unpack(data)


def test_damage() -> None:
    good = bundle.pack(FILES)
    for at in range(0, len(good), 7):
        bad = bytearray(good)
        bad[at] ^= 0xFF
        try:
            found = bundle.unpack(bytes(bad))
        except FetchFault:
            continue
        # Dates and the like may change without harm; names and contents may not.
        assert bundle.digest(found) == bundle.digest(FILES) or set(found) != set(FILES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"hello" * 100,
        b"PK\5\6" + b"\0" * 18 + b"x",
        b"PK\5\6" + b"\xff" * 18,
        bundle.pack(FILES)[:-30],
        b"x" + bundle.pack(FILES),
        bundle.pack(FILES) + b"x",
    ],
)
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(FetchFault):
        bundle.unpack(data)


def test_a_bomb_is_not_inflated() -> None:
    data = bytearray(bundle.pack({"a": b"\0" * 1_000_000}))
    tail = data.rindex(b"PK\1\2")
    struct.pack_into("<L", data, tail + 24, 10)  # its size, it says
    with pytest.raises(FetchFault, match="damaged"):
        bundle.unpack(bytes(data))
    struct.pack_into("<L", data, tail + 24, 2**32 - 1)
    with pytest.raises(FetchFault, match="larger together"):
        bundle.unpack(bytes(data))


def test_an_encrypted_or_strangely_packed_entry() -> None:
    for offset, value in ((8, 1), (10, 12)):
        data = bytearray(archive(("a", b"1")))
        struct.pack_into("<H", data, data.rindex(b"PK\1\2") + offset, value)
        with pytest.raises(FetchFault, match="encrypted"):
            bundle.unpack(bytes(data))


def test_too_many_files() -> None:
    with pytest.raises(FetchFault, match="files"):
        bundle.unpack(archive(*((f"f{n}", b"") for n in range(MAX_FILES + 1))))
    with pytest.raises(Invalid, match="4001 files"):
        bundle.check_size({str(n): b"" for n in range(MAX_FILES + 1)})


@pytest.mark.parametrize(
    ("files", "entry", "problem"),
    [
        ({"x.py": b"def f(:\n"}, "x.py", r"x\.py, line 1: invalid syntax"),
        ({"x.py": b"import os\n\nif True\n    pass\n"}, "x.py", r"x\.py, line 3: expected ':'"),
        ({"x.py": b"print('\xff')"}, "x.py", r"x\.py, line 1: not utf-8"),
        ({"x.py": b"# -*- coding: potato -*-\n"}, "x.py", r"x\.py, line 1: unknown encoding: potato"),
        ({"x.py": b"a = 1\nb = '\0'\n"}, "x.py", r"x\.py, line 2: a NUL byte"),
        ({"x.py": b"return 1\n"}, "x.py", r"x\.py, line 1: 'return' outside function"),
        ({"x.py": b"x = " + b"-" * 100_000 + b"1"}, "x.py", "nested too deeply"),
        ({"x.py": b"x" * (8 * 2**20 + 1)}, "x.py", "a Python file may have 8 MB"),
        ({"x.py": b""}, "y.py", r"entry point 'y\.py' is not among"),
        (
            {"x.py": b'# /// script\n# tool.pumasi.entry_point = "y.py"\n# ///\n', "y.py": b""},
            "x.py",
            "names another file",
        ),
        ({"x.py": b"", "X.py": b""}, "x.py", "differ only in case"),
        ({"x.py": b"", "pumasi.toml": b"nope = 1"}, "x.py", "nope: there is no such field"),
    ],
)
def test_the_check_names_file_and_line(files: dict[str, bytes], entry: str, problem: str) -> None:
    with pytest.raises(Invalid, match=problem):
        bundle.check(files, entry)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"\xef\xbb\xbfprint(1)",
        "# -*- coding: euc-kr -*-\nname = '\uc0c1\ud488'\n".encode("euc-kr"),
        b"#!/usr/bin/env python3\r\nprint(1)\r\n",
        b"x = '\\d'  # a warning, and none of our business\n",
        b"assert (1, 'x')\n",
    ],
)
def test_sources_python_would_run(source: bytes) -> None:
    assert bundle.check({"x.py": source}, "x.py").name is None
