"""`pumasi backup FILE`: the embedded broker as it is now, in a file, whoever works on it."""

import os
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote

import typer

from pumasi.cli import OK
from pumasi.cli.options import Json
from pumasi.cli.output import print_json, write
from pumasi.cli.progress import bar
from pumasi.config import Settings
from pumasi.errors import Invalid
from pumasi.locale import gettext as _
from pumasi.terminal import printable
from pumasi.units import format_size

DETAILS = _(
    "Everything goes on meanwhile; the file holds the state of one moment, was looked through, and can be read by its "
    "owner alone. `pumasi restore` brings it back."
)


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("The file to make."))],
    replace: Annotated[bool, typer.Option("--replace", help=_("Take the place of a file that is there."))] = False,
    json: Json = False,
) -> int:
    from pumasi.broker.sqlite.backup import back_up
    from pumasi.cli.target import load

    with bar(_("copying"), shown=sys.stderr.isatty()) as told:
        back_up(embedded(load()), str(file), told, replace=replace)
    size = os.stat(file).st_size
    if json:
        print_json({"file": str(file), "bytes": size})
    else:
        write(_("{path}: {size}").format(path=printable(str(file)), size=format_size(size)))
    return OK


def embedded(settings: Settings) -> str:
    """The file of the embedded broker. Raises: Invalid, with what to do instead, for any other broker."""
    url = settings.broker_url
    scheme, _separator, rest = url.partition("://")
    if scheme == "sqlite":
        return os.path.abspath(unquote(rest.partition("?")[0]).removeprefix("/"))
    if scheme.startswith(("redis", "valkey", "unix")):
        raise Invalid("backups are for the embedded broker; of Redis: redis-cli --rdb FILE")
    if scheme.startswith("postgres"):
        raise Invalid("backups are for the embedded broker; of PostgreSQL: pg_dump --schema=pumasi DATABASE")
    if scheme.startswith("mongodb"):
        raise Invalid("backups are for the embedded broker; of MongoDB: mongodump --db=job_db")
    raise Invalid("backups are for the embedded broker: sqlite:///FILE")
