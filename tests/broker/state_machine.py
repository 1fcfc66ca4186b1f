"""The protocol of a broker, played at random against a small model of the promise.

The model knows nothing of how a broker works. It says, for each job, how the record must stand; where the promise
leaves room (a lapsed run may be left to its owner, or made claimable again, until somebody takes it) it allows each
way, and goes on from the one it sees. A backend joins with one line:

    TestMineMachine = state_machine(lambda clock, folder: MyBroker(..., clock=clock))
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Held, Job, Lease, Retry, State, Worker
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released
from pumasi.errors import LeaseLost
from tests.broker.conformance.base import Clock

LEASE = 30.0
OUTCOMES: list[Outcome] = [
    Completed(result="1"),
    Failed(cause=Cause.EXIT, error="exit code 1"),
    Failed(cause=Cause.EXIT, error="exit code 1", retryable=False),
    Failed(cause=Cause.MEMORY, error="too much memory"),
    Failed(cause=Cause.FETCH, error="no bundle"),
    Cancelled(),
    Released(),
    Released(reason="sandbox", error="no namespace"),
]
WORKERS = ("w1", "w2", "w3")


@dataclass(frozen=True)
class Known:
    """How a job must stand."""

    id: str
    priority: int
    run_at: float
    expires_at: float | None
    max_attempts: int
    on_lost: str
    state: State = State.PENDING
    attempt: int = 0
    retries_used: int = 0
    deaths: int = 0
    fetch_faults: int = 0
    sandbox_faults: int = 0
    cancel_requested: bool = False
    cause: Cause | None = None
    token: str | None = None
    worker: str | None = None
    claim_id: str | None = None
    lease_until: float = 0.0
    started: bool = False
    #: tokens of runs that are over for good
    stale: frozenset[str] = field(default=frozenset())

    def lapsed(self, now: float) -> bool:
        return self.state is State.RUNNING and self.lease_until <= now

    def expired(self, now: float) -> bool:
        return self.state is State.PENDING and self.expires_at is not None and self.expires_at <= now

    def ended(self, state: State, cause: Cause | None) -> "Known":
        return replace(self, state=state, cause=cause)

    def lost(self) -> "Known":
        """What becomes of it when its worker is given up."""
        after = replace(self, deaths=self.deaths + self.started)
        if self.cancel_requested:
            return after.ended(State.CANCELLED, Cause.CANCELLED)
        if (self.started and self.on_lost == "fail") or after.deaths >= 3:
            return after.ended(State.FAILED, Cause.LOST)
        return replace(after, state=State.PENDING, token=None, stale=self.stale | {self.token or ""})

    def after(self, outcome: Outcome) -> "Known":
        """What becomes of it by its own run's end; when it is due again is seen, within bounds."""
        match outcome:
            case Completed():
                return self.ended(State.COMPLETED, None)
            case Cancelled():
                return self.ended(State.CANCELLED, Cause.CANCELLED)
            case _ if self.cancel_requested:
                return self.ended(State.CANCELLED, Cause.CANCELLED)
            case Released(reason="sandbox"):
                after = replace(self, sandbox_faults=self.sandbox_faults + 1)
                over = after.sandbox_faults == 3
                return after.ended(State.FAILED, Cause.SANDBOX) if over else replace(after, state=State.PENDING)
            case Released():
                return replace(self, state=State.PENDING)
            case Failed(cause=Cause.FETCH):
                after = replace(self, fetch_faults=self.fetch_faults + 1, cause=Cause.FETCH)
                over = after.fetch_faults == 3
                return after.ended(State.FAILED, Cause.FETCH) if over else replace(after, state=State.PENDING)
            case Failed(cause=cause, retryable=retryable):
                again = retryable and cause is Cause.EXIT and self.retries_used + 1 < self.max_attempts
                if not again:
                    return self.ended(State.FAILED, cause)
                return replace(self, state=State.PENDING, cause=cause, retries_used=self.retries_used + 1)
        raise AssertionError(outcome)

    def stands(self, job: Job) -> bool:
        """Whether the record is as it must be."""
        return (
            (self.state, self.attempt, self.retries_used, self.deaths, self.fetch_faults, self.sandbox_faults)
            == (job.state, job.attempt, job.retries_used, job.deaths, job.fetch_faults, job.sandbox_faults)
            and self.cause == job.cause
            and self.cancel_requested == job.cancel_requested
            and (self.state is not State.RUNNING or (self.token, self.worker) == (job.token, job.worker))
            and self.run_at == job.run_at
            and job.ended == (job.ended_at is not None)
        )


class Machine(RuleBasedStateMachine):
    """Two processes' view of one store, and what must be true of it."""

    connect: Callable[[Clock, str], Broker]

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.jobs: dict[str, Known] = {}
        self.leases: list[Lease] = []
        self.endings: dict[str, Job] = {}
        self.claims: list[str] = []
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        make = type(self).connect
        self.brokers = [make(self.clock, self.folder.name) for _ in range(2)]
        for broker in self.brokers:
            self.runner.run(broker.open())

    def teardown(self) -> None:
        for broker in self.brokers:
            self.runner.run(broker.close())
        self.runner.close()
        self.folder.cleanup()

    def do(self, verb: str, *values: Any, by: int = 0) -> Any:
        return self.runner.run(getattr(self.brokers[by], verb)(*values))

    def records(self, by: int) -> list[Job]:
        """All that were ever submitted: nothing is lost."""

        async def get() -> list[Job]:
            return await asyncio.gather(*(self.brokers[by].get(id) for id in self.jobs))

        return self.runner.run(get())

    # -- what happens ---------------------------------------------------------------------------------------------

    @rule(
        id=st.sampled_from("abcdefgh"),
        priority=st.integers(0, 2),
        delay=st.sampled_from([0, 0, 0, 10]),
        expires=st.sampled_from([None, None, 5, 40]),
        max_attempts=st.integers(1, 3),
        on_lost=st.sampled_from(["retry", "retry", "fail"]),
        by=st.integers(0, 1),
    )
    def submit(
        self, id: str, priority: int, delay: float, expires: float | None, max_attempts: int, on_lost: Any, by: int
    ) -> None:
        now = self.clock.now
        asked = Job(
            id=id, script="s", priority=priority, run_at=now + delay, on_lost=on_lost,
            expires_at=None if expires is None else now + expires, retry=Retry(max_attempts=max_attempts, delay=8),
        )  # fmt: skip
        (job,) = self.do("submit", [asked], by=by)
        if id not in self.jobs:
            self.jobs[id] = Known(id, priority, asked.run_at, asked.expires_at, max_attempts, on_lost)
        assert self.jobs[id].stands(job)

    @rule(worker=st.sampled_from(WORKERS), slots=st.integers(1, 4), by=st.integers(0, 1), repeat=st.booleans())
    def claim(self, worker: str, slots: int, by: int, repeat: bool) -> None:
        now = self.clock.now
        claim_id = self.claims[-1] if repeat and self.claims else f"c{len(self.claims)}"
        self.claims.append(claim_id)
        held = {
            known.id
            for known in self.jobs.values()
            if (known.worker, known.claim_id, known.state) == (worker, claim_id, State.RUNNING)
            and not known.lapsed(now)
        }
        leases = self.do("claim", worker, ["default"], slots, 1 << 40, 0, claim_id, by=by)
        if held:
            assert {lease.id for lease in leases} == held
            assert all(lease.token == self.jobs[lease.id].token for lease in leases)
            return
        lost = {id: known.lost() if known.lapsed(now) else known for id, known in self.jobs.items()}
        may = [
            known
            for known in lost.values()
            if known.state is State.PENDING and known.run_at <= now and not known.expired(now)
        ]
        may.sort(key=lambda known: (-known.priority, known.run_at, known.id))
        assert [lease.id for lease in leases] == [known.id for known in may[:slots]]
        for lease in leases:
            before = lost[lease.id]
            assert lease.token not in {other.token for other in self.leases}
            self.jobs[lease.id] = replace(
                before, state=State.RUNNING, attempt=before.attempt + 1, token=lease.token, worker=worker,
                claim_id=claim_id, lease_until=now + LEASE, started=False, stale=before.stale | {before.token or ""},
            )  # fmt: skip
        self.leases += leases

    @rule(worker=st.sampled_from(WORKERS), started=st.booleans(), by=st.integers(0, 1))
    def heartbeat(self, worker: str, started: bool, by: int) -> None:
        mine = [lease for lease in self.leases if lease.job.worker == worker]
        held = [Held(lease.id, lease.token, started) for lease in mine]
        stops = {(stop.id, stop.token): stop.reason for stop in self.do("heartbeat", Worker(id=worker), held, by=by)}
        for lease in mine:
            known = self.jobs[lease.id]
            if known.state is not State.RUNNING or known.token != lease.token:
                assert stops.pop((lease.id, lease.token)) == "lost"
                continue
            assert stops.pop((lease.id, lease.token), None) == ("cancelled" if known.cancel_requested else None)
            self.jobs[lease.id] = replace(known, lease_until=self.clock.now + LEASE, started=known.started or started)
        assert not stops

    @precondition(lambda self: self.leases)
    @rule(pick=st.integers(0, 50), outcome=st.sampled_from(OUTCOMES), by=st.integers(0, 1), late=st.booleans())
    def settle(self, pick: int, outcome: Outcome, by: int, late: bool) -> None:
        lease = self.leases[pick % len(self.leases) if late else -1 - pick % min(3, len(self.leases))]
        known = self.jobs[lease.id]
        if known.token != lease.token:
            assert lease.token in known.stale
            try:
                self.do("settle", lease, outcome, by=by)
            except LeaseLost:
                return
            raise AssertionError("a stale settle was accepted")
        job: Job = self.do("settle", lease, outcome, by=by)
        if known.state is State.RUNNING:
            after = known.after(outcome)
            delay = 60.0 if after.fetch_faults > known.fetch_faults else 32.0
            again = (after.fetch_faults, after.retries_used) != (known.fetch_faults, known.retries_used)
            if again and after.state is State.PENDING:
                assert self.clock.now <= job.run_at <= self.clock.now + delay
                after = replace(after, run_at=job.run_at)
            self.jobs[lease.id] = after
        assert self.jobs[lease.id].stands(job)

    @precondition(lambda self: self.leases)
    @rule(pick=st.integers(0, 50), outcome=st.sampled_from(OUTCOMES))
    def settle_with_a_forged_token(self, pick: int, outcome: Outcome) -> None:
        lease = self.leases[pick % len(self.leases)]
        try:
            self.do("settle", Lease(job=lease.job, token="forged", expires_in=1), outcome)
        except LeaseLost:
            return
        raise AssertionError("a forged settle was accepted")

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 50), by=st.integers(0, 1))
    def cancel(self, pick: int, by: int) -> None:
        known = sorted(self.jobs.values(), key=lambda known: known.id)[pick % len(self.jobs)]
        job = self.do("cancel", known.id, by=by)
        if known.state is State.PENDING:
            known = replace(known, cancel_requested=True).ended(State.CANCELLED, Cause.CANCELLED)
        elif known.state is State.RUNNING:
            known = replace(known, cancel_requested=True)
        self.jobs[known.id] = known
        assert known.stands(job)

    @rule(seconds=st.sampled_from([1, 4, 16, 31]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(by=st.integers(0, 1))
    def sweep(self, by: int) -> None:
        now, ended = self.clock.now, 0
        for id, known in self.jobs.items():
            if known.expired(now):
                self.jobs[id] = known.ended(State.FAILED, Cause.EXPIRED)
            elif known.lapsed(now) and (after := known.lost()).state.ended:
                self.jobs[id] = after
            else:
                continue
            ended += 1
        assert self.do("sweep", by=by) == ended

    # -- what is always true --------------------------------------------------------------------------------------

    @invariant()
    def what_is_always_true(self) -> None:
        self.every_record_stands_as_it_must()
        self.an_ending_never_changes()
        self.all_is_counted()

    def every_record_stands_as_it_must(self) -> None:
        for job in self.records(by=0):
            id, known = job.id, self.jobs[job.id]
            if known.lapsed(self.clock.now) and not known.stands(job):
                known = self.jobs[id] = known.lost()  # a claim has made it claimable, or ended it
            assert known.stands(job), (known, job)

    def an_ending_never_changes(self) -> None:
        for job in self.records(by=1):
            assert job == self.endings.get(job.id, job)
            if job.ended:
                self.endings[job.id] = job

    def all_is_counted(self) -> None:
        totals: dict[str, int] = {}
        for known in self.jobs.values():
            totals[known.state] = totals.get(known.state, 0) + 1
        counted: dict[str, int] = {}
        for state, _, _, n in self.do("stats").jobs:
            counted[state] = counted.get(state, 0) + n
        assert counted == totals


def state_machine(connect: Callable[[Clock, str], Broker], examples: int = 60) -> Any:
    """The test case that plays the protocol on the backend that `connect` gives handles on."""
    machine = type("BackendMachine", (Machine,), {"connect": staticmethod(connect)})
    case = machine.TestCase
    case.settings = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    case.pytestmark = [pytest.mark.timeout(600)]  # a failure takes its time to be made small
    return case
