"""The command line. One file a command; `main` is the only gate through which errors leave.

Exit codes: 0 done, 1 it failed (a job, a service), 2 it was asked for wrongly, 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise

from pumasi.errors import BadFields, Error, Invalid
from pumasi.locale import gettext as _
from pumasi.locale import render, set_language

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(args: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in _before_command(args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # a terminal that cannot show Korean shows its escapes; whoever reads a pipe gets each line at once
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        _choose_language(args)
        return _dispatch(args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return FAILED
    except Exception as error:
        if debug:
            raise
        return _told(_first(error))


def _told(error: BaseException) -> int:
    """Say what went wrong in one line; the exit code that belongs to it."""
    if isinstance(error, BadFields):
        _tell(_in_options(error))
    elif isinstance(error, Error):
        _tell(str(error))
    elif isinstance(error, OSError) and error.filename is not None:
        _tell(f"{os.fsdecode(error.filename)}: {error.strerror}")
    else:  # ours to mend; a traceback helps nobody who did not ask for it
        text = _("{kind}: {reason} (this should not happen; `pumasi --debug …` shows where)")
        _tell(text.format(kind=type(error).__name__, reason=error))
    return USAGE if isinstance(error, Invalid) else FAILED


def _first(error: BaseException) -> BaseException:
    """Of errors that came together, the first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _dispatch(args: list[str]) -> int:
    from typer import _click
    from typer._click.exceptions import NoArgsIsHelpError, NoSuchOption, UsageError
    from typer.exceptions import Abort

    from pumasi.cli.app import build
    from pumasi.cli.words import explain

    try:
        code = build()(args, prog_name="pumasi", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except NoArgsIsHelpError:
        return USAGE
    except _click.ClickException as error:
        _tell(explain(error))
        if isinstance(error, UsageError) and error.ctx is not None:
            command = error.ctx.command_path
            if isinstance(error, NoSuchOption) and command in ("pumasi run", "pumasi submit"):
                text = _("Options of the script itself stand behind --: `{command} SCRIPT -- {option}`.")
                _say(text.format(command=command, option=error.option_name))
            _say(_("See `{command} --help`.").format(command=command))
        return USAGE
    except Abort:
        return INTERRUPTED


#: fields of a request whose options are called otherwise
_OPTIONS = {"run_at": "--at", "labels": "--label", "parameters": "--params", "script": "SCRIPT", "args": "ARGS"}


def _in_options(error: BadFields) -> str:
    """Each bad field by the name of its option: `/limits/memory` is `--memory`."""
    told = []
    for bad in error.fields:
        name, *rest = bad["field"].strip("/").split("/")
        if name == "limits" and rest:
            name, *rest = rest
        shown = "/".join([_OPTIONS.get(name, f"--{name.replace('_', '-')}"), *rest]) if name else ""
        told.append(f"{shown} {render(bad['text'], bad['details'])}".strip())
    return "; ".join(told)


def _choose_language(args: list[str]) -> None:
    """The flag, else what environment and files say; before any text is made."""
    from pumasi.sources import peek

    before = _before_command(args)
    given = [word.removeprefix("--lang=") for word in before if word.startswith("--lang=")]
    given += [value for word, value in pairwise(before) if word == "--lang"]
    name = given[-1] if given else peek("lang")
    if name:
        code = name.split(".")[0].split("_")[0].lower()
        set_language(code)
        if given and code not in ("ko", "en"):
            raise Invalid("--lang is ko or en, not {value!r}", value=name)


def _before_command(args: list[str]) -> list[str]:
    """The words before the command's name."""
    words: list[str] = []
    for word in args:
        if not word.startswith("-") and (not words or words[-1] != "--lang"):
            break
        words.append(word)
    return words


def _tell(text: str) -> None:
    from pumasi.terminal import printable

    _say(_("error: {text}").format(text=printable(text)))


def _say(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        _silence()


def _silence() -> None:
    """Nobody reads any more: keep the interpreter from complaining about it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
