"""`pumasi restore FILE`: what a backup holds in place of the embedded broker's state, whoever works on it."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pumasi.cli import OK
from pumasi.cli.backup import embedded
from pumasi.cli.options import Json
from pumasi.cli.output import print_json, write
from pumasi.cli.progress import bar
from pumasi.errors import Invalid
from pumasi.locale import gettext as _
from pumasi.terminal import printable

DETAILS = _(
    "Gateways and workers may go on: they see the one state, then the other. What they run just then is stopped; what "
    "ran when the backup was made is run again. The state of before is kept beside the database, with .before-restore "
    "behind its name."
)


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("A file that `pumasi backup` has made."))],
    yes: Annotated[bool, typer.Option("--yes", "-y", help=_("Do not ask."))] = False,
    json: Json = False,
) -> int:
    from pumasi.broker.sqlite.backup import restore
    from pumasi.cli.target import load

    settings = load()
    path = embedded(settings)
    asked = _("put {file} in place of {path}?").format(file=printable(str(file)), path=printable(path))
    if os.path.exists(path) and not yes and not (sys.stdin.isatty() and typer.confirm(asked)):
        raise Invalid("nothing was done: answer yes, or say --yes")
    with bar(_("restoring"), shown=sys.stderr.isatty()) as told:
        before = restore(path, str(file), told)
    if json:
        print_json({"file": str(file), "database": path, "before": before})
    else:
        write(_("{path}: restored").format(path=printable(path)))
    return OK
