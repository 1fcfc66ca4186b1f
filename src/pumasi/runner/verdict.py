"""From what was observed of a run to its outcome. Pure; the first rule that fits decides."""

from msgspec import Struct

from pumasi.core.job import Cause, Limits, ResultMode
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released, Report
from pumasi.core.strict import NotStrict
from pumasi.runner.output import Capture
from pumasi.runner.reports import Reports
from pumasi.runner.result import Bad, Result, Text, TooLarge, from_output, strict_text
from pumasi.sandbox.base import SIGNAL_CAUSES, Ending, inodes_of
from pumasi.units import format_duration, format_size

ERROR_BYTES = 8 * 1024


class Observed(Struct, frozen=True, kw_only=True):
    """A run that has ended, and what it left in our hands."""

    ending: Ending
    mode: ResultMode
    #: whether JSON was asked for, by the manifest or the job
    asked: bool
    limits: Limits
    timeout: float | None
    result_limit: int
    stdout: Capture
    stderr: Capture
    reports: Reports
    report: Report


def judge(run: Observed) -> tuple[Outcome, Result]:
    """The outcome (its result still inside `Result`), and the result if there is one."""
    if (why := run.ending.killed_by) is not None:
        return _killed(run, why), None
    if (run.ending.signal or run.ending.exit_code) and (breach := _breach(run)) is not None:
        return breach, None
    if run.ending.signal is not None:
        return _signalled(run, run.ending.signal), None
    if run.ending.exit_code != 0:
        return _exited(run), None
    result = _result(run)
    match result:
        case Bad(why=why):
            return _failed(run, Cause.BAD_RESULT, why), None
        case TooLarge(size=size):
            text = (
                f"the result has {format_size(size)}, more than {format_size(run.result_limit)} (setting result_limit)"
            )
            return _failed(run, Cause.OUTPUT, text), None
    return Completed(report=run.report), result


def _killed(run: Observed, why: str) -> Outcome:
    """One of our limits, or somebody's wish, ended it."""
    match why:
        case "cancelled":
            return Cancelled(report=run.report)
        case "drain" | "lost":
            return Released(reason="drain", error=why, report=run.report)
        case "timeout":
            return _failed(run, Cause.TIMEOUT, f"timeout: ran longer than {format_duration(run.timeout or 0)}")
    cause = Cause(why)
    return _failed(run, cause, f"{why}: {_used(why, run)}")


def _breach(run: Observed) -> Outcome | None:
    """A limit that the kernel held it to, which it then failed of."""
    peaks, limits = run.report.peaks, run.limits
    if run.ending.disk_full or (limits.disk is not None and (peaks.disk or 0) >= limits.disk):
        if (peaks.disk or 0) < 0.9 * (limits.disk or 0):
            return _failed(run, Cause.DISK, f"disk: more than {inodes_of(limits.disk)} files and folders")
        return _failed(run, Cause.DISK, f"disk: {_used('disk', run)}")
    if run.ending.refused_forks:
        return _failed(run, Cause.PROCESSES, f"processes: {_used('processes', run)}; more were refused")
    return None


def _used(what: str, run: Observed) -> str:
    used, allowed = getattr(run.report.peaks, what) or 0, getattr(run.limits, what) or 0
    if what == "processes":
        return f"{used} processes and threads, {allowed} allowed"
    if what == "cpu":
        return f"used {format_duration(used)} of CPU time, {format_duration(allowed)} allowed"
    return f"used {format_size(used)}, {format_size(allowed)} allowed"


def _signalled(run: Observed, number: int) -> Failed:
    cause = SIGNAL_CAUSES.get(number)
    if cause is not None and getattr(run.limits, cause.value) is not None:
        return _failed(run, cause, f"{cause}: {_used(cause.value, run)}")
    return _failed(run, Cause.SIGNAL, _stderr(run) or f"ended by signal {number}")


def _exited(run: Observed) -> Failed:
    error = _stderr(run)
    if run.reports.raised is not None:
        return _failed(run, Cause.ERROR, error or run.reports.raised)
    if run.reports.mismatch is not None:
        return Failed(cause=Cause.INVALID, error=run.reports.mismatch, retryable=False, report=run.report)
    return _failed(run, Cause.EXIT, error or f"exited with code {run.ending.exit_code}")


def _result(run: Observed) -> Result:
    if run.mode == "none":
        return None
    if run.mode == "return":
        return _returned(run)
    return from_output(run.stdout, asked=run.asked, lenient=run.mode == "json-lenient")


def _returned(run: Observed) -> Result:
    if run.reports.unfit is not None:
        return Bad(f"what main returned cannot be written as JSON: {run.reports.unfit}")
    text = run.reports.result
    if text is None and run.reports.oversize:
        return TooLarge(run.reports.oversize)
    if text is None:
        return Bad("main did not return: the process ended before it")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > run.result_limit:
        return TooLarge(size)
    try:
        return Text(strict_text(text))
    except NotStrict as error:
        return Bad(f"what main returned is not strict JSON: {error}")
    except ValueError as error:
        return Bad(f"what main returned is not JSON: {error}")


def _stderr(run: Observed) -> str:
    return run.stderr.last(ERROR_BYTES).decode("utf-8", "replace").strip()


def _failed(run: Observed, cause: Cause, error: str) -> Failed:
    return Failed(cause=cause, error=error, report=run.report)
