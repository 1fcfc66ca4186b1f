"""What clients, workers and observers saw, and what must be true of it.

Every process writes what it saw into a file of its own, one JSON line an event, appended in one write: a process that
is killed loses at most the line it was writing. `merged` puts the files together; the rules are pure functions over
that, each yields what breaks it, and `broken` applies them all.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from pumasi.core.job import ENDED, Job, Lease, State

What = Literal["submit_ok", "claim", "exec_start", "exec_end", "settle_ok", "settle_refused", "observe"]


class Event(Struct, frozen=True, omit_defaults=True):
    """One thing that one process saw."""

    #: seconds of the host's steady clock, which all its processes share
    at: float
    #: who saw it
    by: str
    what: What
    job: str
    #: of an exec: the attempt that was claimed; of an answer or an observation: the record's
    attempt: int = 0
    #: the lease it was seen under
    token: str = ""
    #: of the record that was answered or observed; empty: there was none
    state: str = ""
    #: the record's ending, to compare: everything about it that must never change
    ending: str = ""
    #: whether the job was to be run at most once
    once: bool = False

    @property
    def ended(self) -> bool:
        """Whether the record seen had its ending."""
        return self.state in ENDED


class Broken(Struct, frozen=True):
    """A rule that did not hold, for which job, and what was seen."""

    rule: str
    job: str
    text: str


class History:
    """Where one process writes what it sees."""

    def __init__(self, folder: Path, by: str) -> None:
        self.by = by
        self._fd = os.open(folder / f"{by}-{os.getpid()}.history", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)

    def submitted(self, job: Job) -> None:
        """The broker has taken a job in."""
        self._note("submit_ok", job.id, state=job.state, once=job.on_lost == "fail")

    def claimed(self, lease: Lease) -> None:
        """A lease was handed out."""
        self._note("claim", lease.id, lease.job.attempt, lease.token)

    def exec_start(self, lease: Lease) -> None:
        """Just before the script would begin."""
        self._note("exec_start", lease.id, lease.job.attempt, lease.token)

    def exec_end(self, lease: Lease) -> None:
        """It has ended."""
        self._note("exec_end", lease.id, lease.job.attempt, lease.token)

    def ran(self, id: str, attempt: int) -> None:
        """A script that says so itself has begun: nobody here knows the lease it runs under."""
        self._note("exec_start", id, attempt)

    def settled(self, lease: Lease, job: Job) -> None:
        """A settle was answered with a record."""
        self._note("settle_ok", job.id, lease.job.attempt, lease.token, job.state, ending(job))

    def refused(self, lease: Lease) -> None:
        """A settle came too late."""
        self._note("settle_refused", lease.id, lease.job.attempt, lease.token)

    def observed(self, id: str, job: Job | None) -> None:
        """Somebody looked at a record; None: there was none."""
        if job is None:
            self._note("observe", id)
        else:
            self._note("observe", id, job.attempt, job.token or "", job.state, ending(job))

    def _note(
        self,
        what: What,
        job: str,
        attempt: int = 0,
        token: str = "",
        state: str = "",
        ending: str = "",
        once: bool = False,
    ) -> None:
        event = Event(time.monotonic(), self.by, what, job, attempt, token, str(state), ending, once)
        os.write(self._fd, msgspec.json.encode(event) + b"\n")


def ending(job: Job) -> str:
    """All that must never change once a job has ended; empty before."""
    if not job.ended:
        return ""
    return repr(
        (str(job.state), job.cause and str(job.cause), job.result, job.error, job.attempt, job.token, job.ended_at)
    )


def merged(folder: Path) -> list[Event]:
    """What all processes saw, in order of time. A last line that was not written whole is left out."""
    events: list[Event] = []
    for path in sorted(folder.glob("*.history")):
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        events += msgspec.json.decode(b"[" + whole.replace(b"\n", b",") + b"]", type=list[Event])
    return sorted(events, key=lambda event: event.at)


def broken(events: Sequence[Event], deadline: float = float("inf")) -> list[Broken]:
    """Everything that went wrong; `deadline` is the time by which every ending must have been seen."""
    return [found for rule in RULES for found in rule(events)] + list(late(events, deadline))


# -- the rules --------------------------------------------------------------------------------------------------------


def lost(events: Sequence[Event]) -> Iterator[Broken]:
    """What was accepted is there: nobody sees a job that was accepted before as missing, and somebody sees it."""
    accepted: set[str] = set()
    missing: set[str] = set()
    for event in events:
        if event.what == "submit_ok":
            accepted.add(event.job)
        if event.what == "observe" and not event.state and event.job in accepted:
            missing.add(event.job)
    seen = {event.job for event in events if event.what == "observe" and event.state}
    for job in sorted(accepted - seen | missing):
        yield Broken("lost", job, "it was accepted, and is not there")


def stuck(events: Sequence[Event]) -> Iterator[Broken]:
    """What was accepted has ended when it is looked at last."""
    accepted = {event.job for event in events if event.what == "submit_ok"}
    last = {event.job: event for event in events if event.what == "observe" and event.state}
    for job, event in last.items():
        if job in accepted and not event.ended:
            yield Broken("stuck", job, f"it was {event.state} at the end, in attempt {event.attempt}")


def late(events: Sequence[Event], deadline: float) -> Iterator[Broken]:
    """Every ending is seen by the deadline."""
    for job, (first, *_) in _by_job(event for event in events if event.ended and event.what == "observe").items():
        if first.at > deadline:
            yield Broken("late", job, f"its ending was seen {first.at - deadline:.1f} s after the deadline")


def changed(events: Sequence[Event]) -> Iterator[Broken]:
    """An ending never changes, whoever is told of it: by settle or by looking."""
    for job, told in _by_job(event for event in events if event.ending).items():
        if len(endings := {event.ending for event in told}) > 1:
            yield Broken("changed", job, f"it had {len(endings)} endings: {' and '.join(sorted(endings))}")


def reopened(events: Sequence[Event]) -> Iterator[Broken]:
    """Once one observer has seen an ending, it never again sees the job without one."""
    ended: set[tuple[str, str]] = set()
    for event in events:
        if event.what != "observe":
            continue
        if event.ended:
            ended.add((event.by, event.job))
        elif (event.by, event.job) in ended:
            yield Broken("reopened", event.job, f"it had ended, and {event.by} saw it {event.state or 'missing'}")


def settled_twice(events: Sequence[Event]) -> Iterator[Broken]:
    """One run at most ends a job. A run may be told so twice: that is one ending still."""
    for job, settles in _by_job(event for event in events if event.what == "settle_ok" and event.ended).items():
        if len(tokens := {event.token for event in settles}) > 1:
            yield Broken("settled twice", job, f"{len(tokens)} runs were told that they had ended it")


def outdated(events: Sequence[Event]) -> Iterator[Broken]:
    """The ending on record is of the highest attempt there was."""
    ended = {event.job: event for event in events if event.what == "observe" and event.ended}
    for job, runs in _by_job(event for event in events if event.what in ("claim", "settle_ok")).items():
        highest = max(event.attempt for event in runs)
        if job in ended and highest > ended[job].attempt:
            yield Broken("outdated", job, f"there was attempt {highest}, and attempt {ended[job].attempt} is on record")


def claimed_twice(events: Sequence[Event]) -> Iterator[Broken]:
    """Every lease is its holder's alone: no attempt has two tokens, no token two holders."""
    for job, claims in _by_job(event for event in events if event.what == "claim").items():
        tokens: dict[int, set[str]] = defaultdict(set)
        holders: dict[str, set[str]] = defaultdict(set)
        for event in claims:
            tokens[event.attempt].add(event.token)
            holders[event.token].add(event.by)
        if twice := [attempt for attempt, several in tokens.items() if len(several) > 1]:
            yield Broken("claimed twice", job, f"attempt {twice[0]} was handed out under two tokens")
        if any(len(several) > 1 for several in holders.values()):
            yield Broken("claimed twice", job, "two workers were given the same lease")


def run_too_often(events: Sequence[Event]) -> Iterator[Broken]:
    """No attempt runs twice, and there are no more runs than attempts."""
    highest: dict[str, int] = defaultdict(int)
    for event in events:
        if event.what != "exec_start":
            highest[event.job] = max(highest[event.job], event.attempt)
    for job, runs in _by_job(event for event in events if event.what == "exec_start").items():
        if len(runs) > len({event.attempt for event in runs}):
            yield Broken("run too often", job, "one attempt ran twice")
        elif highest[job] and len(runs) > highest[job]:
            yield Broken("run too often", job, f"{len(runs)} runs in {highest[job]} attempts")


def run_again(events: Sequence[Event]) -> Iterator[Broken]:
    """What is to run at most once does."""
    once = {event.job for event in events if event.what == "submit_ok" and event.once}
    for job, runs in _by_job(event for event in events if event.what == "exec_start").items():
        if job in once and len(runs) > 1:
            yield Broken("run again", job, f"it was to run at most once, and ran {len(runs)} times")


#: what is true whatever happened
RULES = (
    lost,
    stuck,
    changed,
    reopened,
    settled_twice,
    outdated,
    claimed_twice,
    run_too_often,
    run_again,
)


def ended_as(events: Iterable[Event]) -> dict[State, int]:
    """How many jobs were last seen in which ending."""
    last = {event.job: State(event.state) for event in events if event.what == "observe" and event.ended}
    return {state: n for state in State if (n := sum(1 for seen in last.values() if seen is state))}


def _by_job(events: Iterable[Event]) -> dict[str, list[Event]]:
    grouped: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.job].append(event)
    return grouped
