"""From files in a folder to a script: collected, checked, named by its content. Blocking; call it in a thread."""

from pumasi.errors import Invalid
from pumasi.scripts import bundle
from pumasi.scripts.base import Script
from pumasi.scripts.imports import matching, siblings
from pumasi.scripts.manifest import FILE, folder_entry, read_manifest
from pumasi.scripts.reader import Reader
from pumasi.scripts.source import decode


def from_file(reader: Reader, path: str, name: str, *, entry: str, version: str | None = None) -> Script:
    """The script whose only file of its own is `path`; what it imports from the same folder goes with it.

    Raises:
        Invalid: it is no regular file of the folder, or cannot be run as it stands.
    """
    reader.names()  # so that a module which appears later is noticed
    data = reader.read(path)
    if data is None:
        raise Invalid("{file} is no regular file within {folder}", file=path, folder=reader.root)
    files = {**siblings(reader, decode(data, entry), entry.removesuffix(".py")), entry: data}
    for pattern in read_manifest({entry: data}, name, entry_point=entry).files:
        files = {**matching(reader, pattern), **files}
    return _script(files, name, entry, version)


def from_folder(reader: Reader, folder: str, name: str, *, version: str | None = None) -> Script:
    """The script whose files are all that a folder holds, but for what never belongs to one (`reader.SKIPPED_FOLDERS`).

    Raises:
        Invalid: it has no entry point, or cannot be run as it stands.
    """
    files = _files(reader, folder)
    entry = folder_entry(files, name)
    if entry is None:
        raise Invalid(
            "{name} has no entry point: give it a main.py, {name}.py or __main__.py, or name one in {file}",
            name=name,
            file=FILE,
        )
    return _script(files, name, entry, version)


def from_place(reader: Reader, folder: str, entry: str) -> Script:
    """The script that `entry` is, with all that lies in its folder, whatever else in there could be run.

    Raises:
        Invalid: it cannot be run as it stands, or leads out.
    """
    return _script(_files(reader, folder), entry, entry, None)


def _files(reader: Reader, folder: str) -> dict[str, bytes]:
    if reader.leads_out(folder):
        raise Invalid("{file} is a link that leads out of {folder}", file=folder, folder=reader.root)
    found = ((path, reader.read(f"{folder}/{path}" if folder else path)) for path in reader.walk(folder))
    return {path: data for path, data in found if data is not None}


def _script(files: dict[str, bytes], name: str, entry: str, version: str | None) -> Script:
    files = bundle.with_entry(files, entry)
    manifest = bundle.check(files, entry, name)
    if version is not None and manifest.version not in (None, version):
        raise Invalid(
            "{name} is kept as version {version}, and its manifest says {stated}; make them agree",
            name=name,
            version=version,
            stated=repr(manifest.version),
        )
    return Script(name, version or manifest.version, bundle.digest(files), manifest, entry, files)
