"""Options that several commands share. Sizes, times and numbers are taken as text: our own readers explain better."""

from typing import Annotated

import typer

from pumasi.locale import gettext as _

#: the panel of a help page where limits stand
LIMITS = _("Limits")

Json = Annotated[bool, typer.Option("--json", help=_("Print JSON, for programs."))]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help=_("Gateway or broker to speak to, instead of the one set."))
]

Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param", "-p", metavar="KEY=VALUE", help=_("A parameter; the value is read as JSON, else taken as text.")
    ),
]
Params = Annotated[
    str | None,
    typer.Option(
        "--params", metavar="JSON|@FILE|-", help=_("All parameters as a JSON object, from a file or stdin too.")
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option(
        "--timeout", metavar="TIME", help=_("Time limit of a run, such as 90 or 1m30s."), rich_help_panel=LIMITS
    ),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help=_("Memory limit of a run, such as 512MB."), rich_help_panel=LIMITS),
]
Cpu = Annotated[
    str | None, typer.Option("--cpu", metavar="TIME", help=_("CPU time limit of a run."), rich_help_panel=LIMITS)
]
Processes = Annotated[
    str | None,
    typer.Option("--processes", metavar="N", help=_("Most processes and threads at one time."), rich_help_panel=LIMITS),
]
OpenFiles = Annotated[
    str | None,
    typer.Option("--open-files", metavar="N", help=_("Most open files of a process."), rich_help_panel=LIMITS),
]
Disk = Annotated[
    str | None, typer.Option("--disk", metavar="SIZE", help=_("Most disk space of a run."), rich_help_panel=LIMITS)
]
Result = Annotated[
    str | None,
    typer.Option(
        "--result",
        metavar="MODE",
        help=_("What counts as the result: json, json-lenient, return or none; left out, the script decides."),
    ),
]
Ids = Annotated[list[str], typer.Argument(metavar="ID…", help=_("Ids of jobs, or unique beginnings of them."))]
Id = Annotated[str, typer.Argument(metavar="ID", help=_("The id of a job, or a unique beginning of it."))]
