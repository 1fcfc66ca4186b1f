"""`pumasi artifacts ID`: the files that a job left; `--out` fetches them."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from pumasi.cli import OK
from pumasi.cli.options import Id, Json, Url
from pumasi.cli.output import print_json, print_table, say, write
from pumasi.errors import ArtifactNotFound, Invalid
from pumasi.locale import gettext as _
from pumasi.terminal import printable
from pumasi.units import format_size


def command(
    id: Id,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME…", help=_("These files only."), show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help=_("Fetch the files into this folder."))
    ] = None,
    json: Json = False,
    url: Url = None,
) -> int:
    return asyncio.run(_artifacts(id, names or [], out=out, as_json=json, url=url))


async def _artifacts(id: str, names: list[str], *, out: Path | None, as_json: bool, url: str | None) -> int:
    from pumasi.cli.target import connected, load

    async with connected(load(), url) as client:
        sizes = await client.artifacts(id)
        for name in names:
            if name not in sizes:
                raise ArtifactNotFound(id=id, name=name)
        chosen = {name: size for name, size in sizes.items() if not names or name in names}
        if out is not None:
            for name in chosen:
                path = await asyncio.to_thread(_save, out, name, await client.artifact(id, name))
                say(_("saved {path}").format(path=printable(str(path), lines=False)))
    if as_json:
        print_json(chosen)
    elif not chosen:
        say(_("no files"))
    elif out is None:
        print_table((_("file"), _("size")), [(name, format_size(size)) for name, size in chosen.items()], right=(1,))
        write("")
        write(_("fetch them with --out FOLDER"))
    return OK


def _save(folder: Path, name: str, data: bytes) -> Path:
    """Write a file below the folder. Names come from scripts: one that leads out is refused, no link is followed."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Invalid("the file name {name!r} leads out of the folder; it is not saved", name=name)
    path = folder.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise Invalid("the file name {name!r} leads out of the folder; it is not saved", name=name)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(file, "wb") as stream:
        stream.write(data)
    return path
