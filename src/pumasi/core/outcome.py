"""What became of a run, as a value. A worker settles a lease with one of these, and with nothing else."""

from typing import Literal

from msgspec import Struct, field

from pumasi.core.job import Cause, Limits


class Report(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was observed of a run, whatever its outcome."""

    exit_code: int | None = None
    signal: int | None = None
    peaks: Limits = Limits()
    enforced: Limits = Limits()
    isolation: str | None = None
    #: what its cage left open: host-network, user-namespaces, disk-scratch
    openings: tuple[str, ...] = ()
    phases: dict[str, float] = field(default_factory=dict)
    log_tail: str = ""
    warnings: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()


class Completed(Struct, frozen=True, kw_only=True, tag="completed"):
    """The script did what it was asked; `result` is JSON text, or `result_blob` names where it lies."""

    result: str | None = None
    result_blob: str | None = None
    result_size: int = 0
    report: Report = Report()


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The run failed by its own doing, or could not be made; `retryable=False` overrides the job's retry rule."""

    cause: Cause
    error: str
    retryable: bool = True
    report: Report = Report()


class Cancelled(Struct, frozen=True, kw_only=True, tag="cancelled"):
    """The run was stopped because its job was cancelled."""

    report: Report = Report()


class Released(Struct, frozen=True, kw_only=True, tag="released"):
    """The run ended undone by no fault of its own: the job is pending again, in its old place."""

    reason: Literal["drain", "sandbox"] = "drain"
    error: str = ""
    report: Report = Report()


Outcome = Completed | Failed | Cancelled | Released
