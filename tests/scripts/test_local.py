"""Scripts in a folder: which one a name means, how fast that is the second time, and what lies outside for good."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from pumasi.errors import Invalid, ScriptNotFound
from pumasi.scripts import bundle
from pumasi.scripts.base import Reference, Script
from pumasi.scripts.local import FileRepository, LocalRepository, version_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    return tmp_path / "scripts"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        put(folder, name.replace("__", "/") + ".py", text)


def put(folder: Path, name: str, text: str | bytes = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


async def resolve(folder: Path, text: str) -> Script:
    return await LocalRepository(folder).resolve(Reference.parse(text))


def own(script: Script) -> dict[str, bytes]:
    return {path: data for path, data in script.files.items() if path != bundle.ENTRY}


async def test_a_file_and_what_it_imports(folder: Path) -> None:
    write(folder, catalogue="import prices", prices="RATE = 1", other="")
    script = await resolve(folder, "catalogue")
    assert (script.name, script.version, script.entry_point) == ("catalogue", None, "catalogue.py")
    assert own(script) == {"catalogue.py": b"import prices", "prices.py": b"RATE = 1"}
    assert bundle.entry_of(script.files) == "catalogue.py"
    assert script.digest == bundle.digest(script.files)


async def test_two_scripts_that_import_each_other_are_two(folder: Path) -> None:
    write(folder, a="import b", b="import a")
    one, other = await resolve(folder, "a"), await resolve(folder, "b")
    assert own(one) == own(other)
    assert one.digest != other.digest


async def test_files_that_a_manifest_names(folder: Path) -> None:
    put(folder, "a.py", '# /// script\n# tool.pumasi.files = ["urls.txt", "data/*.csv"]\n# ///\n')
    put(folder, "urls.txt", "x")
    put(folder, "data/one.csv", "1")
    put(folder, "data/one.json", "1")
    assert sorted(own(await resolve(folder, "a"))) == ["a.py", "data/one.csv", "urls.txt"]


@pytest.mark.parametrize("entry", ["main.py", "report.py", "__main__.py"])
async def test_a_folder(folder: Path, entry: str) -> None:
    put(folder, f"report/{entry}", "print(1)")
    put(folder, "report/data/x.csv", b"\xff\x00")
    script = await resolve(folder, "report")
    assert script.entry_point == entry
    assert own(script) == {entry: b"print(1)", "data/x.csv": b"\xff\x00"}


async def test_a_folder_with_a_manifest(folder: Path) -> None:
    put(folder, "report/pumasi.toml", 'version = "2"\nentry_point = "src/go.py"\ndescription = "Prices"\n')
    put(folder, "report/src/go.py", "")
    put(folder, "report/main.py", "")
    script = await resolve(folder, "report")
    assert (script.version, script.entry_point, script.manifest.description) == ("2", "src/go.py", "Prices")


async def test_a_folder_with_a_command(folder: Path) -> None:
    put(folder, "shot/pumasi.toml", 'command = ["node", "x.js"]\n')
    put(folder, "shot/x.js", "console.log(1)")
    put(folder, "shot/helper.py", "def f(:  # no Python of ours\n")
    script = await resolve(folder, "shot")
    assert (script.entry_point, script.manifest.command) == ("pumasi.toml", ("node", "x.js"))
    assert bundle.entry_of(script.files) == "pumasi.toml"
    assert script.digest == bundle.digest(script.files)
    (info,) = await LocalRepository(folder).list()
    assert (info.name, info.digest, info.error) == ("shot", script.digest, None)


async def test_a_command_goes_before_a_main_file(folder: Path) -> None:
    put(folder, "shot/pumasi.toml", 'command = ["sh", "run.sh"]\n')
    put(folder, "shot/main.py", "# /// script\n# dependencies = ['a']\n# ///\ndef f(:\n")
    script = await resolve(folder, "shot")
    assert (script.entry_point, script.manifest.dependencies) == ("pumasi.toml", ())


async def test_a_command_that_a_single_file_names(folder: Path) -> None:
    source = '# /// script\n# tool.pumasi.command = ["pypy3", "a.py"]\n# ///\nprint "old"\n'
    put(folder, "a.py", source)
    put(folder, "b/main.py", source)
    for name, entry in (("a", "a.py"), ("b", "main.py")):
        script = await resolve(folder, name)
        assert (script.entry_point, script.manifest.command) == (entry, ("pypy3", "a.py"))


async def test_what_never_belongs_to_a_script(folder: Path) -> None:
    put(folder, "report/main.py")
    for name in (".git/config", "__pycache__/main.pyc", ".venv/bin/python", "node_modules/x.js", "a.pyc", ".pumasi/x",
                 "lib/__pycache__/x.py", "main.py~"):  # fmt: skip
        put(folder, f"report/{name}", "x")
    assert sorted(own(await resolve(folder, "report"))) == ["main.py"]


async def test_versions(folder: Path) -> None:
    for version in ("1.2", "1.10", "1.9", "1.10rc1"):
        put(folder, f"a@{version}.py", f"V = {version!r}")
    put(folder, "a@2.0/main.py", "V = '2.0'")
    latest = await resolve(folder, "a")
    assert (latest.version, latest.entry_point) == ("2.0", "main.py")
    exact = await resolve(folder, "a@1.10")
    assert (exact.version, exact.entry_point, own(exact)) == ("1.10", "a.py", {"a.py": b"V = '1.10'"})
    write(folder, a="V = None")
    assert own(await resolve(folder, "a")) == {"a.py": b"V = None"}
    with pytest.raises(ScriptNotFound, match=r"no version 3; there are: 1\.2, 1\.9, 1\.10rc1, 1\.10, 2\.0"):
        await resolve(folder, "a@3")


async def test_a_version_in_the_manifest(folder: Path) -> None:
    put(folder, "a.py", '# /// script\n# tool.pumasi.version = "1.5"\n# ///\n')
    assert (await resolve(folder, "a")).version == "1.5"
    assert (await resolve(folder, "a@1.5")).version == "1.5"
    with pytest.raises(ScriptNotFound, match=r"no version 1\.6; there are: 1\.5"):
        await resolve(folder, "a@1.6")
    put(folder, "a@2.py", '# /// script\n# tool.pumasi.version = "3"\n# ///\n')
    with pytest.raises(Invalid, match="kept as version 2, and its manifest says '3'"):
        await resolve(folder, "a@2")


async def test_no_version_at_all(folder: Path) -> None:
    write(folder, a="")
    with pytest.raises(ScriptNotFound, match="has no version 1; it has none at all"):
        await resolve(folder, "a@1")


def test_order_of_versions() -> None:
    ordered = ["0.9", "1.0dev1", "1.0a1", "1.0rc1", "1.0", "1.0.1", "1.2", "1.10", "2", "10"]
    assert sorted(set(ordered), key=version_key) == ordered


@pytest.mark.parametrize(
    ("asked", "near"), [("catalog", "catalogue"), ("Catalogue", "catalogue"), ("catalogue.py", "catalogue")]
)
async def test_near_names(folder: Path, asked: str, near: str) -> None:
    write(folder, catalogue="", zzz="")
    with pytest.raises(ScriptNotFound, match=f"did you mean {near}"):
        await resolve(folder, asked)


async def test_nothing_near(folder: Path) -> None:
    with pytest.raises(ScriptNotFound, match="`pumasi scripts` lists"):
        await resolve(folder, "anything")
    with pytest.raises(ScriptNotFound, match="nor a folder"):
        await resolve(folder / "nowhere", "anything")


async def test_a_file_and_a_folder_of_one_name(folder: Path) -> None:
    put(folder, "a.py")
    put(folder, "a/util.py")  # no script: a package of a's
    assert (await resolve(folder, "a")).entry_point == "a.py"
    put(folder, "a/main.py")
    with pytest.raises(Invalid, match=r"a and a\.py are both this script|a\.py and a are both this script"):
        await resolve(folder, "a")
    assert ["keep one" in (info.error or "") for info in await LocalRepository(folder).list()] == [True, True]


async def test_what_cannot_be_run(folder: Path) -> None:
    put(folder, "syntax.py", "import os\ndef f(:\n")
    put(folder, "latin.py", b"x = '\xe9'\n")
    put(folder, "empty/pumasi.toml", "")
    put(folder, "gone/pumasi.toml", 'entry_point = "nope.py"')
    put(folder, "odd/main.py")
    put(folder, "odd/a\nb.txt")
    put(folder, "clash/main.py")
    put(folder, "clash/MAIN.py")
    put(folder, "named/pumasi.toml", 'name = "other"')
    put(folder, "named/main.py")
    for name, problem in {
        "syntax": r"syntax\.py, line 2: invalid syntax",
        "latin": r"latin\.py, line 1: not utf-8",
        "empty": r"empty has no entry point: give it a main\.py, empty\.py or __main__\.py",
        "gone": r"entry point 'nope\.py' is not among",
        "odd": r"'a\\nb\.txt' is no path",
        "clash": "differ only in case",
        "named": "calls itself 'other'",
    }.items():
        with pytest.raises(Invalid, match=problem):
            await resolve(folder, name)


async def test_nothing_outside_is_read(folder: Path) -> None:
    secret = put(folder.parent, "outside/secret.py", "SECRET = 1")
    (folder / "direct.py").symlink_to(secret)
    (folder / "whole").symlink_to(secret.parent)
    put(folder, "mixed/main.py", "x = 1")
    (folder / "mixed/secret.py").symlink_to(secret)
    (folder / "mixed/lib").symlink_to(secret.parent)
    (folder / "mixed/self").symlink_to(".")
    (folder / "mixed/broken").symlink_to("nowhere")
    put(folder, "shared.py", "S = 1")
    (folder / "mixed/shared.py").symlink_to("../shared.py")
    assert own(await resolve(folder, "mixed")) == {"main.py": b"x = 1", "shared.py": b"S = 1"}
    for name in ("direct", "whole"):
        with pytest.raises((Invalid, ScriptNotFound)):
            await resolve(folder, name)


async def test_pipes_and_devices_are_passed_by(folder: Path) -> None:
    put(folder, "a/main.py")
    os.mkfifo(folder / "a/pipe")
    os.mkfifo(folder / "pipe.py")
    assert sorted(own(await resolve(folder, "a"))) == ["main.py"]
    with pytest.raises(ScriptNotFound):
        await resolve(folder, "pipe")


async def test_too_much(folder: Path) -> None:
    put(folder, "big/main.py")
    with open(folder / "big/data.bin", "wb") as file:
        file.truncate(64 * 2**20)
    with pytest.raises(Invalid, match=r"(main\.py|data\.bin|files).*64 MB"):
        await resolve(folder, "big")
    os.truncate(folder / "big/data.bin", 10**12)
    with pytest.raises(Invalid, match=r"data\.bin is too large"):
        await resolve(folder, "big")
    put(folder, "many/main.py")
    for n in range(4001):
        (folder / f"many/{n}").touch()
    with pytest.raises(Invalid, match="more than 4000 files"):
        await resolve(folder, "many")


async def test_a_change_is_seen_at_once(folder: Path) -> None:
    repository = LocalRepository(folder)
    write(folder, a="import b", b="X = 1")
    first = await repository.resolve(Reference("a"))
    assert (await repository.resolve(Reference("a"))).digest == first.digest
    path = put(folder, "b.py", "X = 2")
    second = await repository.resolve(Reference("a"))
    assert second.files["b.py"] == b"X = 2"
    # The same size, the times put back: only the time of the change itself tells.
    before = path.stat()
    path.write_text("X = 3")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await repository.resolve(Reference("a"))).files["b.py"] == b"X = 3"
    (folder / "b.py").unlink()
    assert "b.py" not in (await repository.resolve(Reference("a"))).files


async def test_unchanged_files_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = LocalRepository(folder)
    put(folder, "a/main.py", "import lib.x")
    put(folder, "a/lib/x.py")
    await _settled(folder)
    first = await repository.resolve(Reference("a"))
    monkeypatch.setattr("pumasi.scripts.reader.Reader.read", lambda *_: pytest.fail("read again"))
    assert await repository.resolve(Reference("a")) is first


async def test_what_appears_later_is_noticed(folder: Path) -> None:
    repository = LocalRepository(folder)
    put(folder, "a.py", "import b")
    put(folder, "pkg/readme.txt")
    await _settled(folder)
    first = await repository.resolve(Reference("a"))
    write(folder, b="import pkg.c")
    await _settled(folder)
    second = await repository.resolve(Reference("a"))
    assert ("b.py" in first.files, "b.py" in second.files) == (False, True)
    put(folder, "pkg/c.py", "")
    assert "pkg/c.py" in (await repository.resolve(Reference("a"))).files


async def test_a_folder_that_is_switched_over(tmp_path: Path) -> None:
    for release in ("one", "two"):
        put(tmp_path, f"{release}/a.py", f"R = {release!r}")
    current = tmp_path / "current"
    current.symlink_to("one")
    await _settled(tmp_path)
    repository = LocalRepository(current)
    assert b"one" in (await repository.resolve(Reference("a"))).files["a.py"]
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(current)
    assert b"two" in (await repository.resolve(Reference("a"))).files["a.py"]


async def test_the_list(folder: Path) -> None:
    put(folder, "good.py", '# /// script\n# tool.pumasi.description = "Does good"\n# ///\n')
    put(folder, "good@1.py", "")
    put(folder, "bad.py", "def f(:")
    put(folder, "_helper.py")
    put(folder, "conftest.py")
    put(folder, "report/main.py")
    put(folder, "package/__init__.py")
    put(folder, "\uc218\uc9d1.py")
    put(folder, "a\nb.py")
    put(folder, "notes.txt")
    infos = await LocalRepository(folder).list()
    assert [(info.name, info.version, info.error is None) for info in infos] == [
        ("bad", None, False),
        ("good", None, True),
        ("good", "1", True),
        ("report", None, True),
        ("a\\nb.py", None, False),
        ("\uc218\uc9d1.py", None, False),
    ]
    assert infos[1].description == "Does good"
    assert infos[1].digest == (await resolve(folder, "good")).digest
    assert infos[0].digest is None
    assert "line 1" in (infos[0].error or "")


async def test_a_file_anywhere(tmp_path: Path) -> None:
    path = put(tmp_path, "my script.py", "import helper")
    put(tmp_path, "helper.py")
    repository = FileRepository(path)
    assert repository.name == "my_script"
    script = await repository.resolve(Reference.parse(repository.name))
    assert (script.name, script.entry_point) == ("my_script", "my script.py")
    assert sorted(own(script)) == ["helper.py", "my script.py"]
    assert [info.name for info in await repository.list()] == ["my_script"]
    with pytest.raises(ScriptNotFound, match="did you mean my_script"):
        await repository.resolve(Reference("other"))


async def test_a_folder_anywhere(tmp_path: Path) -> None:
    put(tmp_path, "report/pumasi.toml", "priority = 3")
    put(tmp_path, "report/main.py")
    repository = FileRepository(tmp_path / "report")
    assert (await repository.resolve(Reference("report"))).manifest.priority == 3


async def test_a_file_through_a_link_finds_its_neighbours(tmp_path: Path) -> None:
    put(tmp_path, "real/tool.py", "import helper")
    put(tmp_path, "real/helper.py")
    (tmp_path / "link.py").symlink_to("real/tool.py")
    script = await FileRepository(tmp_path / "link.py").resolve(Reference("link"))
    assert sorted(own(script)) == ["helper.py", "link.py"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("\uc218\uc9d1.py", "script"), ("a b.py", "a_b"), ("..py", "script"), ("x..y.py", "x.y"), ("run", "run")],
)
def test_every_file_has_a_name_to_be_submitted_under(tmp_path: Path, name: str, expected: str) -> None:
    repository = FileRepository(tmp_path / name)
    assert repository.name == expected
    assert Reference.parse(repository.name).name == expected


async def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ScriptNotFound, match="there is no file"):
        await FileRepository(tmp_path / "x.py").resolve(Reference("x"))
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(Invalid, match="no regular file"):
        await FileRepository(tmp_path / "pipe.py").resolve(Reference("pipe"))


async def _settled(folder: Path) -> None:
    """Until a change would show in the times: while something is very young, nothing is remembered of it."""
    from pumasi.scripts.reader import _SETTLED_NS

    newest = max(path.lstat().st_ctime_ns for path in (folder, *folder.rglob("*")))
    # Nothing tells when time has passed but time itself.
    await asyncio.sleep(max(0.0, (newest + _SETTLED_NS - time.time_ns()) / 1e9 + 0.001))
