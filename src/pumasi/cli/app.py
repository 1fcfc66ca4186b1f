"""`pumasi` and its commands. A command's module is loaded when the command is called: `pumasi --help` loads none."""

import importlib
from typing import Any, NamedTuple

import typer
from typer import _click
from typer.main import get_command

import pumasi
from pumasi.cli.words import Command, Group
from pumasi.locale import gettext as _


class Entry(NamedTuple):
    """A command in the list of commands."""

    panel: str
    summary: str


def entries() -> dict[str, Entry]:
    """All commands, in the order of the help page; the module of `name` is `pumasi.cli.name`."""
    jobs, service, state, setup = _("Jobs"), _("Services"), _("What is there"), _("Set-up")
    return {
        "run": Entry(jobs, _("Run a Python file as one job, here and now, without a server.")),
        "submit": Entry(jobs, _("Submit a script as a job.")),
        "jobs": Entry(jobs, _("List jobs.")),
        "show": Entry(jobs, _("Show all about a job, and why it waits.")),
        "logs": Entry(jobs, _("Show the log of a job.")),
        "watch": Entry(jobs, _("Watch jobs as they run.")),
        "cancel": Entry(jobs, _("Cancel jobs.")),
        "retry": Entry(jobs, _("Run ended jobs again, each as a new job.")),
        "dead": Entry(jobs, _("Look after jobs that have failed for good: list, requeue, discard.")),
        "artifacts": Entry(jobs, _("List or fetch the files that a job left.")),
        "up": Entry(service, _("Start gateway and worker together, in the foreground.")),
        "gateway": Entry(service, _("Start a gateway: the HTTP API.")),
        "worker": Entry(service, _("Start a worker: it claims jobs and runs them.")),
        "workers": Entry(state, _("List the workers that are alive.")),
        "queues": Entry(state, _("List, pause, resume, bound or order queues.")),
        "stats": Entry(state, _("Count jobs, queues and workers.")),
        "scripts": Entry(state, _("List the scripts that can be run.")),
        "copy": Entry(setup, _("Copy all jobs of one broker to another.")),
        "backup": Entry(setup, _("Write the embedded broker into a file, while it works.")),
        "restore": Entry(setup, _("Bring a backup of the embedded broker back.")),
        "config": Entry(setup, _("Show each setting and where it came from.")),
        "doctor": Entry(setup, _("Check this machine, and show what protects it.")),
    }


class Pumasi(Group):
    """The group of all commands; each is made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(entries())

    def get_command(self, ctx: Any, name: str) -> Any:
        entry = entries().get(name)
        if entry is None:
            return None
        return _listed(name, entry) if self._listing(ctx) else load(name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        ctx.meta["pumasi.resolving"] = True
        names: dict[str, Any] = dict.fromkeys(entries())
        self.commands = names  # among these typer guesses what was meant
        return super().resolve_command(ctx, args)

    @staticmethod
    def _listing(ctx: Any) -> bool:
        return "pumasi.resolving" not in ctx.meta


def load(name: str) -> Any:
    """The command itself, from its module."""
    module = importlib.import_module(f"pumasi.cli.{name}")
    entry = entries()[name]
    details = getattr(module, "DETAILS", "")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    if hasattr(module, "build"):
        module.build(app)
        command = get_command(app)
    else:
        text = f"{entry.summary}\n\n{details}".strip()
        app.command(name, cls=Command, help=text, context_settings=getattr(module, "CONTEXT", {}))(module.command)
        command = get_command(app)
    command.name = name
    return command


def _listed(name: str, entry: Entry) -> _click.Command:
    command = Command(name, help=entry.summary)
    command.rich_help_panel = entry.panel
    return command


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pumasi {pumasi.__version__}")
        raise typer.Exit


def _options(
    lang: str = typer.Option(None, "--lang", metavar="ko|en", help=_("Language of all texts.")),
    debug: bool = typer.Option(False, "--debug", help=_("Show tracebacks and debug messages.")),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help=_("Show the version and exit.")
    ),
) -> None:
    """What stands before a command; `main` has read it already."""


def build() -> Any:
    """The whole command line."""
    app = typer.Typer(
        cls=Pumasi,
        help=_("Run Python scripts as isolated, supervised jobs."),
        epilog=_("Details of a command: pumasi COMMAND --help"),
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        no_args_is_help=True,
    )
    app.callback()(_options)
    return get_command(app)
