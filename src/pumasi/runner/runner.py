"""One attempt of one job: fetch, prepare, cage, collect."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pumasi.core.job import INLINE_RESULT, Cause, Job, Lease, Limits, Record, ResultMode
from pumasi.core.outcome import Cancelled, Completed, Failed, Outcome, Released, Report
from pumasi.errors import FetchFault, Invalid, SandboxFault, ScriptNotFound, Unavailable
from pumasi.log import get_logger
from pumasi.runner.artifacts import collect
from pumasi.runner.journal import Journal
from pumasi.runner.prepare import INSIDE, Place, environment, payload
from pumasi.runner.result import Result, Text
from pumasi.runner.scratch import ScratchRoot, remove
from pumasi.runner.streams import Streams
from pumasi.runner.verdict import Observed, judge
from pumasi.sandbox.base import Birth, Ending, Need, StopReason, in_memory
from pumasi.sandbox.slot import Slot
from pumasi.sandbox.templates import Templates
from pumasi.scripts.cache import Cache, Cached
from pumasi.scripts.fetch import fetch
from pumasi.scripts.how import how_to_run, how_to_run_program
from pumasi.scripts.manifest import Manifest
from pumasi.units import format_size

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


class _Scratch(Struct, frozen=True):
    """A run's scratch: where the process sees it, and the folder on our side, if it is one."""

    place: Place
    folder: Path | None = None


class Run:
    """An attempt under way. `stop` may be called at any time; `execute` never raises for what a script did."""

    def __init__(
        self,
        lease: Lease,
        *,
        rules: Rules,
        cache: Cache,
        templates: Templates,
        scratch: ScratchRoot,
        get_blob: Callable[[str], Awaitable[bytes | None]],
        journal: Journal,
        on_birth: Callable[[], Awaitable[None]],
        find: Callable[[Job], Awaitable[tuple[Job, Cached]]],
    ) -> None:
        """An attempt; `find` serves jobs that name no content of their script."""
        self.lease = lease
        self._job = lease.job
        self._find = find
        self._rules = rules
        self._cache = cache
        self._templates = templates
        self._scratch = scratch
        self._get_blob = get_blob
        self._journal = journal
        self._on_birth = on_birth
        self._slot: Slot | None = None
        self._phases: dict[str, float] = {}
        self._warnings: list[str] = []
        self._openings: tuple[str, ...] = ()
        self._stopped: StopReason | None = None
        self._limits = _filled(lease.job.limits, rules.limits)

    def stop(self, why: StopReason, *, gently: bool = True) -> None:
        """End the attempt as soon as it can be; the first reason stands."""
        self._stopped = self._stopped or why
        if self._slot is not None:
            self._slot.stop(why, gently=gently)

    def extend(self, seconds: float) -> None:
        """The lease holds for so long. May be called from any thread."""
        slot = self._slot
        if slot is not None:
            slot.extend(seconds)

    async def execute(self) -> Finished:
        """The attempt, from fetching the script to what has to be told about it."""
        try:
            outcome, blobs = await self._attempt()
        except FetchFault as error:
            outcome, blobs = Failed(cause=Cause.FETCH, error=str(error), report=self._report()), {}
        except (Invalid, ScriptNotFound) as error:
            outcome, blobs = Failed(cause=Cause.INVALID, error=str(error), retryable=False, report=self._report()), {}
        except Unavailable as error:  # the broker, before the script began
            outcome, blobs = Released(reason="drain", error=str(error), report=self._report()), {}
        except SandboxFault as error:
            log.error("sandbox.fault", job_id=self.lease.id, reason=str(error))
            outcome, blobs = Released(reason="sandbox", error=str(error), report=self._report()), {}
        except Exception as error:  # a fault of ours: the job is not to blame, and must not hang
            log.exception("job.fault", job_id=self.lease.id)
            outcome, blobs = Released(reason="sandbox", error=repr(error), report=self._report()), {}
        records = await self._journal.close()
        whole = await self._journal.whole()
        if whole is not None:
            blobs[self._job.log_key(self._job.attempt)] = whole
        return Finished(lease=self.lease, outcome=outcome, blobs=blobs, records=records)

    async def _attempt(self) -> tuple[Outcome, dict[str, bytes]]:
        cached = await self._timed("fetch", self._fetch())
        need = self._need(cached)
        if self._stopped is not None:
            return self._unborn(self._stopped), {}
        slot = await self._timed("slot", self._templates.take(need))
        try:
            return await self._in(slot, cached)
        except BaseException:
            slot.kill()  # nobody has seen its end
            raise
        finally:
            self._slot = None
            self._templates.give(slot)

    async def _fetch(self) -> Cached:
        job = self._job
        if job.digest is None:
            self._job, cached = await self._find(job)
            self._limits = _filled(self._job.limits, self._rules.limits)
            return cached
        return self._cache.known(job.digest) or await fetch(job.digest, job.script, self._cache, self._get_blob)

    def _need(self, cached: Cached) -> Need:
        """Which template its process comes from. Raises: Invalid (the cage here cannot hold it to its network)."""
        manifest, host = cached.manifest, self._templates.host
        network = manifest.network or "host"
        if network == "none" and not host.holds_offline:
            text = "script {script} is to have no network, and isolation level {level} cannot hold it to that"
            raise Invalid(text, script=self._job.script, level=host.level)
        self._openings = _openings(manifest, sealed=host.sealed)
        if not manifest.preload:
            return Need(network=network)
        folder = os.path.dirname(cached.entry_point)
        return Need(network=network, preload=manifest.preload, digest=cached.digest, folder=folder)

    async def _in(self, slot: Slot, cached: Cached) -> tuple[Outcome, dict[str, bytes]]:
        """The run, in a slot that is its own for the time."""
        scratch = await self._timed("prepare", self._place(slot, cached))
        try:
            return await self._caged_run(slot, cached, scratch)
        finally:
            if scratch.folder is not None:
                await asyncio.to_thread(remove, scratch.folder)

    async def _place(self, slot: Slot, cached: Cached) -> _Scratch:
        """With a root of its own the process makes its scratch itself, from memory; else there is a folder."""
        job, sealed = self._job, self._templates.host.sealed
        if not sealed:
            made = await asyncio.to_thread(self._scratch.filled, job.id, job.attempt, cached.path, slot.uid)
            return _Scratch(Place(str(made), str(made / "tmp")), made)
        if cached.manifest.scratch == "disk":
            made = await asyncio.to_thread(self._scratch.empty, job.id, job.attempt, slot.uid)
            return _Scratch(INSIDE, made)
        self._limits = in_memory(self._limits)
        return _Scratch(INSIDE)

    async def _caged_run(self, slot: Slot, cached: Cached, scratch: _Scratch) -> tuple[Outcome, dict[str, bytes]]:
        job, rules = self._job, self._rules
        explicit = job.result_mode or cached.manifest.result
        mode = _mode(cached, explicit, bool(job.args))
        env = environment(job, cached.manifest, scratch.place, python=rules.python, allowed=rules.allow_env,
                          environ=os.environ)  # fmt: skip
        streams = Streams(
            self._journal,
            mode,
            result_limit=rules.result_limit,
            output_limit=self._limits.output,
            on_flood=lambda: slot.stop("output", gently=False),
        )
        try:
            told = payload(job, cached, scratch.place, mode, env)
            try:
                await self._on_birth()
                ending = await self._timed("run", self._cage(slot, self._birth(cached, scratch), streams, told))
            finally:
                os.close(told)
        finally:
            streams.close()
        with _kept(ending, scratch) as kept:
            files = await self._timed("collect", self._collect(kept, streams, cached.manifest))
        return self._judged(mode, explicit, ending, streams, files)

    async def _cage(self, slot: Slot, birth: Birth, streams: Streams, told: int) -> Ending:
        out, err, report = streams.writers
        slot.begin(birth, [out, err, told, report], self._warn)
        streams.close_writers()
        self._slot = slot
        if self._stopped is not None:
            slot.stop(self._stopped)
        ending = await slot.ending()
        self._slot = None
        streams.drain()
        if not ending.clean:
            self._warnings.append("not every process of the job could be killed")
            slot.kill()
        return ending

    async def _collect(self, kept: int, streams: Streams, manifest: Manifest) -> dict[str, bytes]:
        """The artifacts: what the script declared, and what its manifest means."""
        declared = streams.reports.artifacts
        if not declared and not manifest.artifacts:
            return {}
        found = await asyncio.to_thread(collect, kept, declared, manifest.artifacts)
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
        job = self._job
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
        outcome = replace(outcome, report=replace(outcome.report, log_tail=self._journal.tail))
        blobs = {job.artifact_key(name): data for name, data in files.items()}
        if isinstance(outcome, Completed):
            outcome, more = _with_result(outcome, result, job)
            blobs |= more
        return outcome, blobs

    def _birth(self, cached: Cached, scratch: _Scratch) -> Birth:
        rules, place = self._rules, scratch.place
        where = "" if scratch.folder is None else scratch.folder.name if place is INSIDE else place.home
        return Birth(
            folder=place.work,
            home=place.home,
            source=f"{cached.digest}/files",
            scratch=where,
            limits=self._limits,
            timeout=self._timeout,
            grace=rules.grace,
            nice=rules.nice,
            browser=cached.manifest.browser,
            fence=self._fence,
        )

    @property
    def _timeout(self) -> float | None:
        return self._job.timeout if self._job.timeout is not None else self._rules.timeout

    @property
    def _fence(self) -> float | None:
        """A job that must not run twice is killed before its lease can expire elsewhere, whatever the worker's
        policy."""
        if self._rules.fence is None and self._job.on_lost == "fail":
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
            isolation=self._templates.level,
            openings=self._openings,
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


def _openings(manifest: Manifest, *, sealed: bool) -> tuple[str, ...]:
    """What the cage leaves open for this script, in words for its record."""
    said = {
        "host-network": manifest.network != "none",
        "user-namespaces": manifest.browser,
        "disk-scratch": manifest.scratch == "disk" or not sealed,
    }
    return tuple(word for word, is_open in said.items() if is_open)


def _mode(cached: Cached, explicit: ResultMode | None, args_given: bool) -> ResultMode:
    if cached.manifest.command:
        return how_to_run_program(explicit, args_given)
    return how_to_run(_source(cached.entry_path), explicit, args_given)


@lru_cache(maxsize=64)
def _source(path: Path) -> str:
    """A file of the cache, which never changes."""
    return path.read_bytes().decode("utf-8", "replace")


@contextlib.contextmanager
def _kept(ending: Ending, scratch: _Scratch) -> Iterator[int]:
    """What is left of a scratch, as an fd."""
    fd = ending.scratch
    if scratch.folder is not None:
        fd = os.open(scratch.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
