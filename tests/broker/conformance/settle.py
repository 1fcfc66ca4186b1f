"""Settling: the only end of a run, and what the job becomes by it."""

import asyncio

import pytest
from msgspec.structs import replace

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Held, Job, Lease, Record, Retry, State, Worker
from pumasi.core.job import Limits as RunLimits
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released, Report
from pumasi.errors import JobNotFound, LeaseLost
from tests.broker.conformance.base import START, Case, Clock, Connect, a_job, claims, ids_of_claim, leased, submitted

EXIT = Failed(cause=Cause.EXIT, error="exit code 1")
REPORT = Report(
    exit_code=3,
    signal=9,
    peaks=RunLimits(memory=5, cpu=0.5),
    enforced=RunLimits(memory=9),
    isolation="basic",
    phases={"run": 1.5},
    log_tail="the last\nwords",
    warnings=("hot",),
    artifacts=("page.png",),
)


class Settle(Case):
    async def test_completed(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        clock.advance(2)
        job = await broker.settle(lease, Completed(result='{"n":1}', result_size=7, report=REPORT))
        assert (job.state, job.result, job.result_size, job.ended_at) == (State.COMPLETED, '{"n":1}', 7, START + 2)
        assert (job.cause, job.error, job.attempt) == (None, None, 1)
        assert (job.exit_code, job.signal, job.peaks, job.enforced) == (3, 9, REPORT.peaks, REPORT.enforced)
        assert (job.isolation, job.phases, job.log_tail) == ("basic", {"run": 1.5}, "the last\nwords")
        assert (job.warnings, job.artifacts) == (("hot",), ("page.png",))
        assert await broker.get("a") == job
        assert await claims(broker) == []

    async def test_failed_has_its_cause(self, broker: Broker) -> None:
        job = await broker.settle(await leased(broker, "a"), replace(EXIT, report=REPORT))
        assert (job.state, job.cause, job.error, job.exit_code) == (State.FAILED, Cause.EXIT, "exit code 1", 3)
        assert await broker.get("a") == job
        assert await claims(broker) == []

    async def test_cancelled(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.cancel("a")
        job = await broker.settle(lease, Cancelled())
        assert (job.state, job.cause) == (State.CANCELLED, Cause.CANCELLED)

    async def test_progress_and_start_stay_as_they_were_told(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.heartbeat(Worker(id="w1"), [Held("a", lease.token, started=True)])
        await broker.append(lease, [Record(1, START, "progress", b'[3,10,"page 3"]')])
        job = await broker.settle(lease, Completed(result="1"))
        assert job.progress is not None
        assert (job.progress.done, job.progress.total, job.progress.note) == (3, 10, "page 3")
        assert job.started_at == START
        assert await broker.get("a") == job

    async def test_a_run_that_was_over_before_it_was_told_has_begun(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        clock.advance(10)
        job = await broker.settle(lease, Completed(report=Report(phases={"run": 2.5})))
        assert job.started_at == clock.now - 2.5
        assert await broker.get("a") == job

    # -- tried again ----------------------------------------------------------------------------------------------

    async def test_a_failure_is_tried_again_after_a_while(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a", retry=Retry(max_attempts=3, delay=4, factor=2, max_delay=6))
        for retry, ceiling in ((1, 4), (2, 6)):
            (lease,) = await claims(broker)
            job = await broker.settle(lease, EXIT)
            assert (job.state, job.retries_used, job.attempt) == (State.PENDING, retry, retry)
            assert (job.error, job.cause, job.worker, job.lease_until) == ("exit code 1", Cause.EXIT, None, None)
            assert clock.now <= job.run_at <= clock.now + ceiling
            assert await broker.get("a") == job
            clock.advance(ceiling)
        (lease,) = await claims(broker)
        job = await broker.settle(lease, EXIT)
        assert (job.state, job.retries_used, job.attempt) == (State.FAILED, 2, 3)

    async def test_a_retry_that_completes_bears_no_error(self, broker: Broker) -> None:
        await broker.settle(await leased(broker, "a", retry=Retry(max_attempts=2, delay=0)), EXIT)
        (lease,) = await claims(broker)
        job = await broker.settle(lease, Completed(result="1"))
        assert (job.state, job.error, job.cause, job.result) == (State.COMPLETED, None, None, "1")

    @pytest.mark.parametrize(
        "outcome",
        [replace(EXIT, retryable=False), Failed(cause=Cause.MEMORY, error="too much memory")],
        ids=["not retryable", "cause not listed"],
    )
    async def test_not_every_failure_is_tried_again(self, broker: Broker, outcome: Outcome) -> None:
        job = await broker.settle(await leased(broker, "a", retry=Retry(max_attempts=9)), outcome)
        assert job.state is State.FAILED

    async def test_a_fetch_fault_is_tried_three_times_whatever_the_job_says(self, broker: Broker, clock: Clock) -> None:
        fault = Failed(cause=Cause.FETCH, error="the bundle is gone")
        await submitted(broker, "a")
        for tries in (1, 2):
            (lease,) = await claims(broker)
            job = await broker.settle(lease, fault)
            assert (job.state, job.fetch_faults, job.retries_used) == (State.PENDING, tries, 0)
            clock.advance(60)
        (lease,) = await claims(broker)
        job = await broker.settle(lease, fault)
        assert (job.state, job.cause, job.attempt) == (State.FAILED, Cause.FETCH, 3)

    # -- released -------------------------------------------------------------------------------------------------

    async def test_a_released_job_keeps_its_place_and_its_tries(self, broker: Broker, clock: Clock) -> None:
        await submitted(broker, "a")
        clock.advance(1)
        await broker.submit([a_job("0"), a_job("b")])
        for attempt in range(1, 6):
            (lease,) = await claims(broker)
            assert (lease.id, lease.job.attempt) == ("a", attempt)
            job = await broker.settle(lease, Released())
            assert (job.state, job.retries_used, job.deaths, job.run_at) == (State.PENDING, 0, 0, START)
        assert await ids_of_claim(broker, 9) == ["a", "0", "b"]

    async def test_three_sandbox_faults_end_the_job(self, broker: Broker) -> None:
        await submitted(broker, "a")
        fault = Released(reason="sandbox", error="no namespace")
        for faults in (1, 2):
            (lease,) = await claims(broker)
            job = await broker.settle(lease, fault)
            assert (job.state, job.sandbox_faults, job.retries_used) == (State.PENDING, faults, 0)
        (lease,) = await claims(broker)
        job = await broker.settle(lease, fault)
        assert (job.state, job.cause, job.error) == (State.FAILED, Cause.SANDBOX, "no namespace")

    # -- fencing --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "outcome", [Completed(result="2"), EXIT, Cancelled(), Released()], ids=lambda outcome: type(outcome).__name__
    )
    async def test_a_wrong_token_changes_nothing(self, broker: Broker, outcome: Outcome) -> None:
        lease = await leased(broker, "a")
        before = await broker.get("a")
        with pytest.raises(LeaseLost):
            await broker.settle(Lease(job=lease.job, token="forged", expires_in=30), outcome)
        assert await broker.get("a") == before

    async def test_a_stale_settle_is_refused(self, broker: Broker, clock: Clock) -> None:
        first = await leased(broker, "a")
        clock.advance(30)
        (second,) = await claims(broker, worker="w2")
        before = await broker.get("a")
        with pytest.raises(LeaseLost):
            await broker.settle(first, Completed(result='"first"'))
        assert await broker.get("a") == before
        await broker.settle(second, Completed(result='"second"'))
        with pytest.raises(LeaseLost):
            await broker.settle(first, Completed(result='"first"'))
        assert (await broker.get("a")).result == '"second"'

    async def test_a_forged_record_gains_nothing(self, broker: Broker, clock: Clock) -> None:
        """The token fences, whatever the record that comes along claims."""
        first = await leased(broker, "a")
        clock.advance(30)
        (second,) = await claims(broker, worker="w2")
        with pytest.raises(LeaseLost):
            await broker.settle(Lease(job=second.job, token=first.token, expires_in=1), Completed(result="1"))

    async def test_a_late_settle_counts_while_nobody_took_the_job(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        clock.advance(1000)
        assert (await broker.settle(lease, Completed(result="1"))).state is State.COMPLETED

    async def test_the_token_of_a_lapsed_run_is_worth_nothing_once_it_waits_again(
        self, broker: Broker, clock: Clock
    ) -> None:
        lease = await leased(broker, "a", run_at=START)
        clock.advance(30)
        (second,) = await claims(broker, worker="w2")
        await broker.settle(second, Released())
        with pytest.raises(LeaseLost):
            await broker.settle(lease, Completed(result="1"))

    async def test_an_unknown_job(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        with pytest.raises((JobNotFound, LeaseLost)):
            await broker.settle(
                Lease(job=replace(lease.job, id="nobody"), token=lease.token, expires_in=1), Completed(result="1")
            )

    # -- repeated -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "outcome", [Completed(result="1"), EXIT, Cancelled(), Released()], ids=lambda outcome: type(outcome).__name__
    )
    async def test_a_repeated_settle_is_answered_with_the_stored_job(self, broker: Broker, outcome: Outcome) -> None:
        lease = await leased(broker, "a")
        first = await broker.settle(lease, outcome)
        assert await broker.settle(lease, outcome) == first
        assert await broker.get("a") == first

    async def test_a_repeated_retry_is_not_counted_twice(self, broker: Broker) -> None:
        lease = await leased(broker, "a", retry=Retry(max_attempts=5))
        first = await broker.settle(lease, EXIT)
        assert await broker.settle(lease, EXIT) == first

    async def test_an_ending_never_changes(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        first = await broker.settle(lease, Completed(result="1"))
        clock.advance(5)
        for outcome in (EXIT, Cancelled(), Released(), Completed(result="2")):
            assert await broker.settle(lease, outcome) == first
        assert await broker.cancel("a") == first

    async def test_of_two_settles_at_once_one_counts(self, connect: Connect) -> None:
        brokers = [await connect(), await connect()]
        lease = await leased(brokers[0], "a")
        answers = await asyncio.gather(*(brokers[n % 2].settle(lease, Completed(result=str(n))) for n in range(8)))
        stored: Job = await brokers[0].get("a")
        assert {job.result for job in answers} == {stored.result}
