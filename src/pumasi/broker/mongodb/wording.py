"""What is written into the documents of other programs: texts that are fixed, whatever the language, and bounded."""

from msgspec import Struct

from pumasi.broker.mongodb.classic import MAX_DOCUMENT, MB, date
from pumasi.core.job import Cause, Job, State

#: bytes of each part that a line about a run holds
MAX_PART = MB
#: bytes of its `error`
MAX_ERROR = 64 * 1024
#: bytes of each part that are written even into a document that is full
_LEAST = 512
#: a code for a run that has none
_NO_CODE = -1


def picked_up(pid: int, now: float) -> str:
    """The line about a claim."""
    return f"[{_iso(now)}] Job picked up by worker (PID: {pid})."


class Ending(Struct, frozen=True):
    """What a run leaves in its document."""

    line: str
    error: str | None


def ending(job: Job, stdout: str, stderr: str, size: int, now: float) -> Ending:
    """What is said of a run that is over, in a document of `size` bytes by now."""
    error = None if job.state is State.COMPLETED else _error(job, stderr)
    if error is not None and not _by_exit(job):
        stderr = error
    room = max(MAX_DOCUMENT - size - 2 * MAX_ERROR, 2 * _LEAST)
    shown = min(MAX_PART, room // 2)
    head = "작업 성공." if job.state is State.COMPLETED else f"작업 실패 (Exit Code: {_code(job)})."
    parts = f"--- STDOUT ---\n{cut(stdout, shown)}\n--- STDERR ---\n{cut(stderr, shown)}"
    return Ending(f"[{_iso(now)}] {head}\n{parts}", None if error is None else cut(error, min(MAX_ERROR, shown)))


def refusal(reason: str, now: float) -> Ending:
    """What is said of a document that cannot be run."""
    text = cut(reason, MAX_ERROR)
    line = f"[{_iso(now)}] 작업 실패 (Exit Code: {_NO_CODE}).\n--- STDOUT ---\n\n--- STDERR ---\n{text}"
    return Ending(line, text)


def cut(text: str, most: int) -> str:
    """A text of at most so many bytes: its beginning and its end."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return text
    mark = f"\n[{len(data)} bytes; the middle is left out]\n"
    rest = max(0, most - len(mark))
    head, tail = rest // 4, rest - rest // 4
    return data[:head].decode(errors="ignore") + mark + data[len(data) - tail :].decode(errors="ignore")


def ran_in_vain(job: Job) -> bool:
    """Whether a job waits because its last run failed, and is to be tried again."""
    return job.error is not None and job.claimed_at is not None and job.run_at >= job.claimed_at


def _by_exit(job: Job) -> bool:
    return job.cause in (Cause.EXIT, Cause.SIGNAL)


def _error(job: Job, stderr: str) -> str:
    """One text: standard error; when that is empty, or not what it was about, a sentence."""
    said = stderr.strip()
    sentence = job.error or f"exit code {_code(job)}"
    if _by_exit(job):
        return said or sentence
    return f"{sentence}\n{said}" if said else sentence


def _code(job: Job) -> int:
    if job.exit_code is not None:
        return job.exit_code
    return _NO_CODE if job.signal is None else -job.signal


def _iso(at: float) -> str:
    return date(at).isoformat(timespec="milliseconds")
