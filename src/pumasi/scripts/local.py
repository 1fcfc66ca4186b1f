"""Scripts in a local folder, and a single file anywhere.

    scripts/catalogue.py         with the modules beside it that it imports
    scripts/catalogue@1.2.py     version 1.2 of the same
    scripts/report/              a folder: pumasi.toml, or main.py, report.py, __main__.py
    scripts/report@2/

Asked for without a version, it is the one without, else the highest. Names that begin with `_` are not listed.
"""

import asyncio
import builtins
import os
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct

from pumasi.errors import Error, Invalid, ScriptNotFound
from pumasi.scripts.assemble import from_file, from_folder
from pumasi.scripts.base import Reference, Repository, Script, ScriptInfo, is_name, is_version
from pumasi.scripts.manifest import FILE
from pumasi.scripts.memo import Memo
from pumasi.scripts.reader import SKIPPED_FOLDERS, Reader

# Words that stand before the release itself, from far to near; any other word comes after it.
_PRE_RELEASE = {"dev": -5, "a": -4, "alpha": -4, "b": -3, "beta": -3, "c": -2, "rc": -2, "pre": -2, "preview": -2}
_NOT_LISTED = {"conftest", "setup"}


class _Place(Struct, frozen=True):
    """Where a script lies in the folder, and the version its file name gives it."""

    name: str
    version: str | None
    path: str
    folder: bool


class LocalRepository(Repository):
    """The scripts of one folder. Nothing outside it is ever read."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._memo = Memo()

    async def resolve(self, reference: Reference) -> Script:
        return await asyncio.to_thread(self._resolve, reference)

    async def list(self) -> builtins.list[ScriptInfo]:
        return await asyncio.to_thread(self._list)

    def _resolve(self, reference: Reference) -> Script:
        known = self._memo.get(reference)
        if known is not None:
            return known
        reader = Reader(self.folder)
        return self._load(reader, self._choose(reader, reference), reference)

    def _load(self, reader: Reader, place: _Place, reference: Reference) -> Script:
        script = _assemble(reader, place)
        _check_name(script)
        return self._memo.put(reference, reader.seal, script)

    def _list(self) -> builtins.list[ScriptInfo]:
        reader = Reader(self.folder)
        shown = [place for place in _places(reader) if not _is_hidden(place.name)]
        infos = [_info(place, lambda place: self._listed(place, shown)) for place in shown]
        return [*infos, *map(_misnamed, _misfits(reader))]

    def _listed(self, place: _Place, places: Sequence[_Place]) -> Script:
        """The script of one of the places, chosen without looking at all of them again."""
        reference = Reference(place.name, place.version)
        known = self._memo.get(reference)
        if known is not None:
            return known
        _only([other for other in places if other.name == place.name], place.version)
        reader = Reader(self.folder)
        reader.names()  # what the choice depends on belongs under the seal
        return self._load(reader, place, reference)

    def _choose(self, reader: Reader, reference: Reference) -> _Place:
        places = _places(reader)
        own = [place for place in places if place.name == reference.name]
        if not own:
            raise self._not_found(reference.name, sorted({place.name for place in places}))
        if reference.version is None:
            return _only(own, _latest(own))
        exact = [place for place in own if place.version == reference.version]
        if exact:
            return _only(own, reference.version)
        # The one without a version in its file name may state one in its manifest.
        plain = [place for place in own if place.version is None]
        versions = [place.version for place in own if place.version is not None]
        if not plain:
            raise _no_version(reference, versions)
        stated = _assemble(Reader(self.folder), plain[0]).version
        if stated != reference.version:
            raise _no_version(reference, versions + ([stated] if stated else []))
        return _only(own, None)

    def _not_found(self, name: str, names: Sequence[str]) -> ScriptNotFound:
        if not self.folder.is_dir():
            return ScriptNotFound(
                "there is no script {name!r}, nor a folder {folder} it could be in; the setting `scripts` names one",
                name=name,
                folder=str(self.folder),
            )
        folded = {known.casefold(): known for known in names}
        near = [folded[key] for key in get_close_matches(name.removesuffix(".py").casefold(), folded, n=3)]
        if near:
            return ScriptNotFound("there is no script {name!r}; did you mean {near}?", name=name, near=", ".join(near))
        return ScriptNotFound(
            "there is no script {name!r} in {folder}; `pumasi scripts` lists those there are",
            name=name,
            folder=str(self.folder),
        )


class FileRepository(Repository):
    """One file, or one folder with a manifest or a main.py, wherever it lies; known under `name` alone."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(os.path.abspath(path))
        #: the name to submit it under: the file's, with what no name may have replaced
        self.name = _name_of(self.path)
        self._memo = Memo()

    async def resolve(self, reference: Reference) -> Script:
        return await asyncio.to_thread(self._resolve, reference)

    async def list(self) -> list[ScriptInfo]:
        place = _Place(self.name, None, str(self.path), False)
        return [await asyncio.to_thread(_info, place, lambda place: self._resolve(Reference(place.name)))]

    def _resolve(self, reference: Reference) -> Script:
        if reference.name != self.name:
            raise ScriptNotFound(
                "there is no script {name!r}; did you mean {near}?", name=reference.name, near=self.name
            )
        script = self._memo.get(Reference(self.name)) or self._assemble()
        if reference.version not in (None, script.version):
            raise _no_version(reference, [script.version] if script.version else [])
        return script

    def _assemble(self) -> Script:
        if not os.path.exists(self.path):
            raise ScriptNotFound("there is no file {path}", path=str(self.path))
        # Python, too, looks for a script's modules beside the file that a link leads to.
        real = self.path.resolve()
        if real.is_dir():
            reader = Reader(real)
            script = from_folder(reader, "", self.name)
        else:
            reader = Reader(real.parent)
            script = from_file(reader, real.name, self.name, entry=self.path.name)
        reader.seal.note(str(self.path))
        return self._memo.put(Reference(self.name), reader.seal, script)


def _places(reader: Reader) -> list[_Place]:
    """Everything in the folder that is a script by its place and name, in order of name and version."""
    places = []
    for entry in reader.names():
        if entry.endswith(".py") and reader.is_file(entry):
            place = _place(entry, entry.removesuffix(".py"), False)
        elif entry not in SKIPPED_FOLDERS and reader.is_folder(entry):
            place = _place(entry, entry, True)
            place = place if place and _is_script(reader, place) else None
        else:
            place = None
        places.extend([place] if place else [])
    return sorted(places, key=lambda place: (place.name, place.version is not None, version_key(place.version or "")))


def _place(path: str, stem: str, folder: bool) -> _Place | None:
    name, at, version = stem.partition("@")
    if not is_name(name) or name == "__init__" or (at and not is_version(version)):
        return None
    return _Place(name, version if at else None, path, folder)


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", ".")) or name in _NOT_LISTED


def _misfits(reader: Reader) -> list[str]:
    """Python files in the folder that no reference can name."""
    files = [entry for entry in reader.names() if entry.endswith(".py") and reader.is_file(entry)]
    return [
        entry for entry in files if _place(entry, entry.removesuffix(".py"), False) is None and not _is_hidden(entry)
    ]


def _misnamed(entry: str) -> ScriptInfo:
    try:
        Reference.parse(entry.removesuffix(".py"))
    except Invalid as error:
        return ScriptInfo(repr(entry)[1:-1], None, None, "", str(error))
    raise AssertionError(entry)


def _is_script(reader: Reader, place: _Place) -> bool:
    return any(reader.is_file(f"{place.path}/{file}") for file in (FILE, "main.py", f"{place.name}.py", "__main__.py"))


def _only(places: list[_Place], version: str | None) -> _Place:
    found = [place for place in places if place.version == version]
    if len(found) > 1:
        raise Invalid("{one} and {other} are both this script; keep one", one=found[0].path, other=found[1].path)
    return found[0]


def _latest(places: Iterable[_Place]) -> str | None:
    versions = [place.version for place in places]
    return None if None in versions else max((version for version in versions if version), key=version_key)


def _assemble(reader: Reader, place: _Place) -> Script:
    if place.folder:
        return from_folder(reader, place.path, place.name, version=place.version)
    return from_file(reader, place.path, place.name, entry=f"{place.name}.py", version=place.version)


def _check_name(script: Script) -> None:
    if script.manifest.name not in (None, script.name):
        raise Invalid(
            "{name} calls itself {stated} in its manifest; rename one of the two",
            name=script.name,
            stated=repr(script.manifest.name),
        )


def _info(place: _Place, load: Callable[[_Place], Script]) -> ScriptInfo:
    try:
        script = load(place)
    except Error as error:
        return ScriptInfo(place.name, place.version, None, "", str(error))
    return ScriptInfo(script.name, script.version, script.digest, script.manifest.description, None)


def _no_version(reference: Reference, versions: list[str]) -> ScriptNotFound:
    if not versions:
        return ScriptNotFound(
            "script {name!r} has no version {version}; it has none at all: leave the version out",
            name=reference.name,
            version=reference.version,
        )
    return ScriptNotFound(
        "script {name!r} has no version {version}; there are: {versions}",
        name=reference.name,
        version=reference.version,
        versions=", ".join(sorted(versions, key=version_key)),
    )


def version_key(version: str) -> list[tuple[int, int, str]]:
    """What versions sort by: numbers as numbers, `1.0rc1` before `1.0` before `1.0.1`."""
    parts = re.findall(r"\d+|[a-z]+", version.lower())
    keys = [(1, int(part), "") if part.isdecimal() else (_PRE_RELEASE.get(part, 0), 0, part) for part in parts]
    return [*keys, (0, 0, "")]


def _name_of(path: Path) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]", "_", path.name.removesuffix(".py")).strip(".-")[:128]
    name = re.sub(r"\.\.+", ".", stem)
    return name if re.search(r"[A-Za-z0-9]", name) else "script"
