"""Which modules a single-file script takes along."""

from pathlib import Path

import pytest

from pumasi.errors import Invalid
from pumasi.scripts.imports import imported, matching, siblings
from pumasi.scripts.reader import Reader


def write(folder: Path, files: dict[str, str]) -> Reader:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Reader(folder)


def found(reader: Reader, source: str) -> list[str]:
    return sorted(siblings(reader, source, "own"))


def test_names_of_imports() -> None:
    source = """
import a, b.c as d
from e.f import g
from . import h
from .i import j
def late():
    import k
    from l import m
try: import n
except ImportError: pass
importlib.import_module("o.p"); __import__("q"); import_module(name); import_module(".r")
"""
    assert imported(source) == {"a", "b", "e", "k", "l", "n", "o", "q"}
    assert imported("def f(:") == set()


def test_modules_beside_it_and_what_they_import(tmp_path: Path) -> None:
    reader = write(
        tmp_path,
        {
            "own.py": "import a",
            "a.py": "import b\nimport own",
            "b.py": "import pkg.deep",
            "pkg/__init__.py": "",
            "pkg/deep.py": "import c",
            "pkg/data.csv": "1,2",
            "pkg/__pycache__/deep.pyc": "",
            "c.py": "import a",
            "other.py": "",
        },
    )
    assert found(reader, "import a, json, os") == [
        "a.py",
        "b.py",
        "c.py",
        "pkg/__init__.py",
        "pkg/data.csv",
        "pkg/deep.py",
    ]


def test_a_folder_without_init_brings_its_modules(tmp_path: Path) -> None:
    reader = write(tmp_path, {"lib/a.py": "", "lib/sub/b.py": "", "lib/notes.txt": ""})
    assert found(reader, "from lib.sub import b") == ["lib/a.py", "lib/sub/b.py"]


def test_python_order(tmp_path: Path) -> None:
    reader = write(tmp_path, {"x/__init__.py": "", "x.py": "", "y/z.py": "", "y.py": "", "sys.py": "", "json.py": ""})
    # What is built into the interpreter is never looked for in a folder; the rest of the library is.
    assert found(reader, "import x, y, sys, json") == ["json.py", "x/__init__.py", "y.py"]


def test_a_module_that_does_not_parse_goes_along(tmp_path: Path) -> None:
    assert found(write(tmp_path, {"bad.py": "def f(:"}), "import bad") == ["bad.py"]


def test_links_that_lead_out_stay_behind(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    reader = write(tmp_path / "in", {"a.py": ""})
    write(outside, {"b.py": "", "pkg/__init__.py": "secret"})
    (tmp_path / "in" / "b.py").symlink_to(outside / "b.py")
    (tmp_path / "in" / "pkg").symlink_to(outside / "pkg")
    (tmp_path / "in" / "c.py").symlink_to("a.py")
    assert found(reader, "import a, b, c, pkg") == ["a.py", "c.py"]


def test_patterns(tmp_path: Path) -> None:
    reader = write(tmp_path, {"urls.txt": "", "data/a.csv": "", "data/b.json": "", "data/deep/c.csv": "", "x.py": ""})
    assert sorted(matching(reader, "urls.txt")) == ["urls.txt"]
    assert sorted(matching(reader, "data/*.csv")) == ["data/a.csv"]
    assert sorted(matching(reader, "data")) == ["data/a.csv", "data/b.json", "data/deep/c.csv"]
    assert sorted(matching(reader, "*/deep")) == ["data/deep/c.csv"]
    with pytest.raises(Invalid, match=r"nothing matches 'nope\.\*'"):
        matching(reader, "nope.*")
