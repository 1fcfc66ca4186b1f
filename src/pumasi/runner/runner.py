"""One attempt of one job: fetch, prepare, cage, collect."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pumasi.core.job import INLINE_RESULT, Cause, Job, Lease, Limits, Record, ResultMode
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released, Report
from pumasi.errors import FetchFault, Invalid, SandboxFault, Unavailable
from pumasi.log import get_logger
from pumasi.runner.artifacts import collect, matching
from pumasi.runner.journal import Journal
from pumasi.runner.prepare import environment, payload
from pumasi.runner.result import Result, Text
from pumasi.runner.scratch import ScratchRoot, remove
from pumasi.runner.streams import Streams
from pumasi.runner.verdict import Observed, judge
from pumasi.sandbox.base import Birth, Ending, StopReason
from pumasi.sandbox.level import LEVEL
from pumasi.sandbox.slot import Slot
from pumasi.scripts.cache import Cache, Cached
from pumasi.scripts.fetch import fetch
from pumasi.scripts.how import how_to_run
from pumasi.units import format_size

BOOTSTRAP = Path(__file__).parent.parent / "sandbox" / "bootstrap.py"
_T = TypeVar("_T")

log = get_logger(__name__)


class Rules(Struct, frozen=True, kw_only=True):
    """What a worker says for jobs that say nothing themselves."""

    limits: Limits
    timeout: float | None
    result_limit: int
    grace: float
    nice: int
    python: str
    #: names of environment variables that scripts may ask for
    allow_env: tuple[str, ...] = ()
    #: seconds without a heartbeat after which a run is killed; None: it may finish
    fence: float | None = None


class Finished(Struct, frozen=True, kw_only=True):
    """All that has to reach the broker: blobs first, then records, then the outcome, which ends the lease."""

    lease: Lease
    outcome: Outcome
    blobs: dict[str, bytes] = msgspec.field(default_factory=dict)
    records: tuple[Record, ...] = ()
    #: it stands in for what the broker would not take
    refused: bool = False


class Run:
    """An attempt under way. `stop` may be called at any time; `execute` never raises for what a script did."""

    def __init__(
        self,
        lease: Lease,
        slot: Slot,
        *,
        rules: Rules,
        cache: Cache,
        scratch: ScratchRoot,
        get_blob: Callable[[str], Awaitable[bytes | None]],
        journal: Journal,
        on_birth: Callable[[], Awaitable[None]],
    ) -> None:
        self.lease = lease
        self.slot = slot
        self._rules = rules
        self._cache = cache
        self._scratch = scratch
        self._get_blob = get_blob
        self._journal = journal
        self._on_birth = on_birth
        self._phases: dict[str, float] = {}
        self._warnings: list[str] = []
        self._stopped: StopReason | None = None
        self._caged = False
        self._limits = _filled(lease.job.limits, rules.limits)

    def stop(self, why: StopReason, *, gently: bool = True) -> None:
        """End the attempt as soon as it can be; the first reason stands."""
        self._stopped = self._stopped or why
        if self._caged:
            self.slot.stop(why, gently=gently)

    async def execute(self) -> Finished:
        """The attempt, from fetching the script to what has to be told about it."""
        try:
            outcome, blobs = await self._attempt()
        except FetchFault as error:
            outcome, blobs = Failed(cause=Cause.FETCH, error=str(error), report=self._report()), {}
        except Invalid as error:
            outcome, blobs = Failed(cause=Cause.INVALID, error=str(error), retryable=False, report=self._report()), {}
        except Unavailable as error:  # the broker, before the script began
            outcome, blobs = Released(reason="drain", error=str(error), report=self._report()), {}
        except SandboxFault as error:
            log.error("sandbox.fault", job_id=self.lease.id, reason=str(error))
            outcome, blobs = Released(reason="sandbox", error=str(error), report=self._report()), {}
        except Exception as error:  # a fault of ours: the job is not to blame, and must not hang
            log.exception("job.fault", job_id=self.lease.id)
            outcome, blobs = Released(reason="sandbox", error=repr(error), report=self._report()), {}
        return Finished(lease=self.lease, outcome=outcome, blobs=blobs, records=await self._journal.close())

    async def _attempt(self) -> tuple[Outcome, dict[str, bytes]]:
        cached = await self._timed("fetch", self._fetch())
        folder = await self._timed("prepare", self._prepare(cached))
        try:
            if self._stopped is not None:
                return self._unborn(self._stopped), {}
            return await self._caged_run(cached, folder)
        finally:
            await asyncio.to_thread(remove, folder)

    async def _fetch(self) -> Cached:
        job = self.lease.job
        if job.digest is None:
            raise Invalid("job {id} names no script content; submit it through Pumasi", id=job.id)
        return await fetch(job.digest, job.script, self._cache, self._get_blob)

    async def _prepare(self, cached: Cached) -> Path:
        job = self.lease.job
        return await asyncio.to_thread(self._scratch.make, job.id, job.attempt, cached.path)

    async def _caged_run(self, cached: Cached, folder: Path) -> tuple[Outcome, dict[str, bytes]]:
        job = self.lease.job
        source = cached.entry_path.read_bytes()
        explicit = job.result_mode or cached.manifest.result
        mode = how_to_run(source.decode("utf-8", "replace"), explicit, bool(job.args))
        streams = Streams(
            self._journal,
            mode,
            result_limit=self._rules.result_limit,
            output_limit=self._limits.output,
            on_flood=lambda: self.slot.stop("output", gently=False),
        )
        told = payload(job, folder / "work", cached.entry_point, mode)
        try:
            birth = self._birth(cached, folder)
            await self._on_birth()
            ending = await self._timed("run", self._cage(birth, streams, told))
        finally:
            self._caged = False
            os.close(told)
            streams.close()
        files = await self._timed("collect", self._collect(folder, streams, cached.manifest.artifacts))
        return self._judged(mode, explicit, ending, streams, files)

    async def _cage(self, birth: Birth, streams: Streams, told: int) -> Ending:
        out, err, report = streams.writers
        await self.slot.begin(birth, [out, err, told, report], self.lease.id)
        streams.close_writers()
        self._caged = True
        if self._stopped is not None:
            self.slot.stop(self._stopped)
        ending = await self.slot.ending(self._warn)
        streams.drain()
        return ending

    async def _collect(self, folder: Path, streams: Streams, patterns: Sequence[str]) -> dict[str, bytes]:
        """The artifacts: what the script declared, and what its manifest means."""
        work = folder / "work"
        found = await asyncio.to_thread(
            lambda: collect(work, list(dict.fromkeys([*streams.reports.artifacts, *matching(work, patterns)])))
        )
        self._warnings += found.refused
        return found.files

    def _judged(
        self,
        mode: ResultMode,
        explicit: ResultMode | None,
        ending: Ending,
        streams: Streams,
        files: dict[str, bytes],
    ) -> tuple[Outcome, dict[str, bytes]]:
        job = self.lease.job
        if not ending.clean:
            self._warnings.append("not every process of the job could be killed")
            self.slot.close()
        outcome, result = judge(
            Observed(
                ending=ending,
                mode=mode,
                asked=explicit in ("json", "json-lenient"),
                limits=self._limits,
                timeout=self._timeout,
                result_limit=self._rules.result_limit,
                stdout=streams.stdout,
                stderr=streams.stderr,
                reports=streams.reports,
                report=self._report(ending, streams.total, tuple(files)),
            )
        )
        streams.finish(taken=result is not None)
        outcome = msgspec.structs.replace(outcome, report=replace(outcome.report, log_tail=self._journal.tail))
        blobs = {job.artifact_key(name): data for name, data in files.items()}
        if isinstance(outcome, Completed):
            outcome, more = _with_result(outcome, result, job)
            blobs |= more
        return outcome, blobs

    def _birth(self, cached: Cached, folder: Path) -> Birth:
        rules = self._rules
        return Birth(
            argv=[rules.python, "-I", "-B", "-X", "utf8", str(BOOTSTRAP)],
            env=environment(self.lease.job, cached.manifest, folder, python=rules.python, allowed=rules.allow_env),
            folder=str(folder / "work"),
            scratch=str(folder),
            limits=self._limits,
            timeout=self._timeout,
            grace=rules.grace,
            nice=rules.nice,
            fence=self._fence,
        )

    @property
    def _timeout(self) -> float | None:
        return self.lease.job.timeout if self.lease.job.timeout is not None else self._rules.timeout

    @property
    def _fence(self) -> float | None:
        """A job that must not run twice is killed before its lease can expire elsewhere, whatever the worker's
        policy."""
        if self._rules.fence is None and self.lease.job.on_lost == "fail":
            return max(1.0, self.lease.expires_in - 5.0)
        return self._rules.fence

    def _warn(self, what: str, used: float, allowed: float | None) -> None:
        text = (
            "CPU above 90 % of a core for 10 s"
            if what == "cpu"
            else f"memory near its limit: {format_size(int(used))} of {format_size(int(allowed or 0))}"
        )
        self._warnings.append(text)
        self._journal.note(text)
        log.warning("job.near_limit", job_id=self.lease.id, what=what)

    def _unborn(self, why: StopReason) -> Outcome:
        if why == "cancelled":
            return Cancelled(report=self._report())
        return Released(reason="drain", error=why, report=self._report())

    def _report(self, ending: Ending | None = None, output: int = 0, artifacts: tuple[str, ...] = ()) -> Report:
        return Report(
            exit_code=ending.exit_code if ending else None,
            signal=ending.signal if ending else None,
            peaks=replace(ending.peaks, output=output) if ending else Limits(),
            enforced=self._limits,
            isolation=LEVEL,
            phases=self._phases,
            warnings=tuple(self._warnings),
            artifacts=artifacts,
        )

    async def _timed(self, phase: str, step: Awaitable[_T]) -> _T:
        began = time.perf_counter()
        try:
            return await step
        finally:
            self._phases[phase] = round(time.perf_counter() - began, 6)


def _with_result(outcome: Completed, result: Result, job: Job) -> tuple[Completed, dict[str, bytes]]:
    """The outcome with its result: in itself, or beside it when it is large."""
    if not isinstance(result, Text):
        return outcome, {}
    data = result.json.encode()
    if len(data) <= INLINE_RESULT:
        return replace(outcome, result=result.json, result_size=len(data)), {}
    key = f"result/{job.id}/{job.attempt}"
    return replace(outcome, result_blob=key, result_size=len(data)), {key: data}


def _filled(asked: Limits, defaults: Limits) -> Limits:
    """What was asked for, and the worker's word where nothing was."""
    given = {name: value for name, value in msgspec.to_builtins(asked).items() if value is not None}
    return replace(defaults, **given)
