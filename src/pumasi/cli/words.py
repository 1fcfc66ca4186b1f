"""The words that typer brings along, in the language of ours: one place, for its help pages and its usage errors.

Its few translatable texts are bound to the standard library's catalogue; they are bound to ours instead. The rest is
written into its code: those pages are made here anew, and those errors are told here from what they carry.
"""

import importlib
import re
from typing import Any

import typer.core
from typer import _click
from typer._click import exceptions as usage

from pumasi.locale import gettext as _
from pumasi.terminal import printable


class _Translated:
    """What a command and a group have in common. Options show the placeholder given, else nothing: no Python types."""

    def get_help_option(self: Any, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            option.help = _("Show this help and exit.")
        return option

    def format_usage(self: Any, ctx: Any, formatter: Any) -> None:
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), prefix=_("Usage: "))

    def collect_usage_pieces(self: Any, ctx: Any) -> list[str]:
        pieces = [self.options_metavar]
        for param in self.get_params(ctx):
            if isinstance(param, typer.core.TyperArgument):
                pieces.append(_shown(param) if param.required else f"[{_shown(param)}]")
        return pieces + ([self.subcommand_metavar] if isinstance(self, typer.core.TyperGroup) else [])

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        translate()
        for param in self.get_params(ctx):
            param.display_type_rich = lambda ctx, param=param: _placeholder(param)
        super().format_help(ctx, formatter)  # type: ignore[misc]


class Command(_Translated, typer.core.TyperCommand):
    """One command of `pumasi`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "options_metavar": _("[OPTIONS]")})


class Group(_Translated, typer.core.TyperGroup):
    """`pumasi` itself, or a command that has commands."""

    def __init__(self, *args: Any, **options: Any) -> None:
        metavars = {"options_metavar": _("[OPTIONS]"), "subcommand_metavar": _("COMMAND …")}
        super().__init__(*args, **{**options, **metavars})


def translate() -> None:
    """Give typer our catalogue; call it again when the language has changed."""
    core: Any = typer.core
    rich_utils: Any = importlib.import_module("typer.rich_utils")
    core._ = rich_utils._ = _
    rich_utils.DEFAULT_STRING = _("[default: {}]")
    rich_utils.REQUIRED_LONG_STRING = _("[required]")
    rich_utils.ARGUMENTS_PANEL_TITLE = _("Arguments")
    rich_utils.OPTIONS_PANEL_TITLE = _("Options")
    rich_utils.COMMANDS_PANEL_TITLE = _("Commands")


def explain(error: _click.ClickException) -> str:
    """A usage error as one sentence."""
    match error:
        case usage.NoSuchOption(option_name=name, possibilities=guesses):
            if guesses:
                text = _("there is no option {name}; did you mean {guesses}?")
                return text.format(name=printable(name, lines=False), guesses=", ".join(sorted(guesses)))
            return _("there is no option {name}").format(name=printable(name, lines=False))
        case usage.MissingParameter(param=param) if param is not None:
            return _("{name} is missing").format(name=_shown(param))
        case usage.BadParameter(param=param) if param is not None:
            return _("{name}: {why}").format(name=_shown(param), why=printable(error.message, lines=False))
        case usage.BadOptionUsage(option_name=name):
            if "does not take" in error.message:
                return _("option {name} takes no value").format(name=name)
            return _("option {name} needs a value").format(name=name)
    return _unclassed(error.message)


def _unclassed(message: str) -> str:
    """Errors that typer tells by their sentence alone."""
    if found := re.match(r"No such command '(.*?)'(?:\. Did you mean (.*)\?|\.)", message):
        if found[2]:
            text = _("there is no command {name!r}; did you mean {guesses}?")
            return text.format(name=found[1], guesses=found[2].replace("'", ""))
        return _("there is no command {name!r}; `pumasi --help` lists them").format(name=found[1])
    if found := re.match(r"Got unexpected extra argument\(s\) \((.*)\)", message, re.DOTALL):
        return _("there is one argument too many: {arguments}").format(arguments=printable(found[1], lines=False))
    if message.startswith("Missing command"):
        return _("a command is missing; `pumasi --help` lists them")
    return printable(message, lines=False)


def _placeholder(param: Any) -> str | None:
    if isinstance(param, typer.core.TyperArgument):
        return None
    return param.metavar if param.metavar else None


def _shown(param: Any) -> str:
    if isinstance(param, typer.core.TyperArgument):
        return str(param.display_name_raw)
    return str(max(param.opts, key=len))
