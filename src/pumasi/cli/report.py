"""How a job ended, for people: the cause, what it used against what it might, and its last words."""

import sys
from collections.abc import Iterator

from pumasi.cli.output import say, write
from pumasi.core.job import Cause, Job, Limits, State
from pumasi.locale import gettext as _
from pumasi.terminal import printable
from pumasi.units import format_duration, format_size

_SIZES = ("memory", "disk", "output")
#: lines of a log, or of an error, that a short report shows
_LAST_LINES = 12
#: lines of log after which the last ones are repeated in a report
_SCREEN = 20


def tell_ending(job: Job, *, lines: int = 0) -> None:
    """The result on standard output, or a short report of the failure on standard error.

    `lines` of its log have been shown already: only the last of many are repeated.
    """
    if job.state is not State.COMPLETED:
        told = facts(job, log=lines > _SCREEN, brief=lines > 0)
        say("\n".join([headline(job), *(f"  {name}: {_indented(value)}" for name, value in told)]))
    elif not sys.stdout.isatty():
        write(job.result or "null")
    elif job.result is not None:
        write(printable(job.result))


def headline(job: Job) -> str:
    """One line: the state, and of what."""
    if job.cause is None or job.state is State.CANCELLED:
        return job.state.value
    meaning = cause_text(job.cause)
    return f"{job.state.value}: {job.cause.value} ({meaning})" if meaning else f"{job.state.value}: {job.cause.value}"


def facts(job: Job, *, log: bool = True, brief: bool = False) -> Iterator[tuple[str, str]]:
    """Names and values of the ending: exit code, peaks, error, the end of the log unless it says the same.

    `log=False` leaves the log out; `brief` takes of the error what the log has not said already: its last line.
    """
    if job.exit_code is not None and job.signal is None:
        yield _("exit code"), str(job.exit_code)
    if job.signal is not None:
        yield _("signal"), signal_name(job.signal)
    if peaks := used(job.peaks, job.enforced, job):
        yield _("used"), peaks
    for warning in job.warnings:
        yield _("warning"), warning
    said, tail = last_lines(job.error or ""), last_lines(job.log_tail)
    if said and said != job.state.value:
        yield _("error"), said.splitlines()[-1] if brief and said in job.log_tail else said
    if log and tail and tail not in said:
        yield _("log"), tail


def used(peaks: Limits, limits: Limits, job: Job) -> str:
    """`memory 31 MB of 512 MB, CPU 0.1s of 5m, …`: what was measured, against the limit where there is one."""
    words = {
        "memory": _("memory"),
        "cpu": _("CPU time"),
        "processes": _("processes"),
        "open_files": _("open files"),
        "disk": _("disk"),
        "output": _("output"),
    }
    parts = []
    for name, word in words.items():
        peak, limit = getattr(peaks, name), getattr(limits, name)
        if peak is None:
            continue
        if limit is None:
            parts.append(f"{word} {_amount(name, peak)}")
        else:
            text = _("{what} {used} of {limit}")
            parts.append(text.format(what=word, used=_amount(name, peak), limit=_amount(name, limit)))
    if job.started_at and job.ended_at:
        ran = format_duration(job.ended_at - job.started_at)
        limit = job.timeout and format_duration(job.timeout)
        text = _("{what} {used} of {limit}") if limit else "{what} {used}"
        parts.append(text.format(what=_("time"), used=ran, limit=limit))
    return ", ".join(parts)


def last_lines(text: str, count: int = _LAST_LINES) -> str:
    """The end of a text; what is left out is said."""
    lines = text.rstrip().splitlines()
    return "\n".join(lines if len(lines) <= count else ["…", *lines[-count:]])


def signal_name(number: int) -> str:
    """`9 (SIGKILL)`."""
    import signal

    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def cause_text(cause: Cause) -> str:
    """What a cause means, in a few words."""
    return {
        Cause.EXIT: _("its exit code was not 0"),
        Cause.SIGNAL: _("a signal ended it"),
        Cause.TIMEOUT: _("it ran too long"),
        Cause.MEMORY: _("it used too much memory"),
        Cause.CPU: _("it used too much CPU time"),
        Cause.PROCESSES: _("it started too many processes"),
        Cause.DISK: _("it used too much disk space"),
        Cause.OUTPUT: _("it printed or returned too much"),
        Cause.ERROR: _("main raised an exception"),
        Cause.BAD_RESULT: _("its result is no strict JSON"),
        Cause.CONTRACT: _("its result does not fit its schema"),
        Cause.INVALID: _("it cannot be run as it stands"),
        Cause.FETCH: _("its script could not be fetched"),
        Cause.LOST: _("its worker died or fell silent"),
        Cause.CANCELLED: _("somebody cancelled it"),
        Cause.EXPIRED: _("nobody started it in time"),
        Cause.SANDBOX: _("the sandbox failed"),
    }.get(cause, "")


def _indented(value: str) -> str:
    lines = printable(value).splitlines()
    return lines[0] if len(lines) == 1 else "".join(f"\n    {line}" for line in lines)


def _amount(name: str, value: float) -> str:
    if name in _SIZES:
        return format_size(value)
    return format_duration(value) if name == "cpu" else f"{value:g}"
