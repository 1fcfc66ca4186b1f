"""From a request and the script it means to the record of a job. Pure: the time is given."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from msgspec.structs import asdict, replace

from pumasi.core import strict
from pumasi.core.job import Job, KeyLimit, Limits, ResultMode, Retry
from pumasi.errors import Invalid
from pumasi.intake.fields import Problem, refusal
from pumasi.intake.keys import expand, key_limit
from pumasi.intake.parameters import wrong_parameters
from pumasi.intake.request import JobRequest, LimitsRequest, RetryRequest
from pumasi.scripts.base import Script
from pumasi.scripts.how import how_to_run, how_to_run_program
from pumasi.scripts.manifest import Manifest

#: bytes of the parameters of a command
MAX_ARGUMENT = 100 * 1024
#: KiB that Linux takes for one argument of a process
_KERNEL = 128
#: what a repetition keeps of the job it repeats
_ASKED = (
    "script", "version", "digest", "parameters", "args", "queue", "priority", "timeout", "limits", "required_memory",
    "result_mode", "retry", "on_lost", "limit", "share", "unique", "body_hash", "labels", "external_id",
)  # fmt: skip


def assembled(request: JobRequest, script: Script, *, id: str, now: float) -> Job:
    """The job, bound to the content of `script`: what the request says, else what the manifest says.

    Raises:
        BadFields: parameters against the manifest's schema, a key that cannot be filled in, what a command cannot take.
    """
    manifest = script.manifest
    _check_parameters(request.parameters, manifest)
    _check_command(request, manifest)
    due = request.due(now)
    expires = _first(request.expires, manifest.expires)
    job = Job(
        id=id,
        script=script.name,
        version=request.reference.version,
        digest=script.digest,
        parameters=None if request.parameters is None else strict.dumps(request.parameters),
        args=None if request.args is None else tuple(request.args),
        queue=_first(request.queue, manifest.queue, "default"),
        priority=_first(request.priority, manifest.priority, 0),
        run_at=due or 0.0,
        expires_at=None if expires is None else (due or now) + expires,
        timeout=_first(request.timeout, manifest.timeout),
        limits=_limits(request.limits, manifest.limits()),
        result_mode=_first(request.result, manifest.result),
        retry=_retry(request.retry) or manifest.retry_rule() or Retry(),
        on_lost=_first(request.on_lost, manifest.on_lost, "retry"),
        unique=request.unique,
        body_hash=body_hash(request),
        labels={**(manifest.labels or {}), **(request.labels or {})},
    )
    required = _first(request.required_memory, manifest.memory_to_count())
    job = job if required is None else replace(job, required_memory=required)
    values = _values(job, request.parameters)
    share = _first(request.share, manifest.share)
    return replace(
        job,
        limit=_limit(request, manifest, job, values),
        share="" if share is None else expand("/share", share, values),
    )


def bound(job: Job, script: Script) -> Job:
    """A job that named no content, bound to what a worker has found under its name: what the job says, else what the
    manifest says. How often it is tried again is the job's alone.

    Raises: BadFields (parameters against the manifest's schema).
    """
    manifest = script.manifest
    parameters = None if job.parameters is None else json.loads(job.parameters)
    _check_parameters(parameters, manifest)
    return replace(
        job,
        digest=script.digest,
        timeout=_first(job.timeout, manifest.timeout),
        limits=_over(job.limits, manifest.limits()),
        result_mode=_first(job.result_mode, manifest.result, _mode_to_ask_for(job, script)),
    )


def repeated(job: Job, *, id: str) -> Job:
    """A new job that asks for the same as an ended one, content included, and is due at once."""
    asked = {name: getattr(job, name) for name in _ASKED}
    return Job(id=id, parent=job.id, **asked)


def edited(job: Job, parameters: dict[str, Any], manifest: Manifest | None) -> Job:
    """A repeated job with other parameters. A key or a share that its script fills in from them is filled in anew.

    Raises: BadFields (parameters against the manifest's schema).
    """
    _check_parameters(parameters, manifest)
    before = _values(job, None if job.parameters is None else json.loads(job.parameters))
    after = _values(job, parameters)
    text = strict.dumps(parameters)
    job = replace(job, parameters=text, body_hash=hashlib.sha256(f"{job.body_hash}\n{text}".encode()).hexdigest())
    if manifest is None:
        return job
    if job.limit is not None and manifest.key is not None and job.limit.key == expand("/key", manifest.key, before):
        job = replace(job, limit=replace(job.limit, key=expand("/key", manifest.key, after)))
    if manifest.share is not None and job.share == expand("/share", manifest.share, before):
        job = replace(job, share=expand("/share", manifest.share, after))
    return job


def body_hash(request: JobRequest) -> str:
    """A digest of all that was asked for, the same for the same request whatever the order of its fields."""
    asked = {name: value for name, value in request.model_dump(mode="python").items() if value is not None}
    return hashlib.sha256(json.dumps(asked, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _check_parameters(parameters: dict[str, Any] | None, manifest: Manifest | None) -> None:
    if manifest is None or manifest.parameters is None:
        return
    problems = wrong_parameters(manifest.parameters, parameters or {})
    if problems:
        raise refusal(problems)


def _check_command(request: JobRequest, manifest: Manifest) -> None:
    """A program that is not Python gets its parameters as one argument, and has no `main`."""
    if manifest.command is None:
        return
    if problems := [*_too_long_for_an_argument(request), *_no_mode_of_a_command(request)]:
        raise refusal(problems)


def _too_long_for_an_argument(request: JobRequest) -> Iterator[Problem]:
    size = 0 if request.parameters is None else len(strict.dumps(request.parameters).encode())
    if size > MAX_ARGUMENT:
        yield Problem(
            "/parameters",
            "are {size} bytes of JSON; a command gets them as one argument: {limit} are taken at most, as the kernel "
            "takes no argument beyond {kernel} KiB",
            {"size": size, "limit": MAX_ARGUMENT, "kernel": _KERNEL},
        )


def _no_mode_of_a_command(request: JobRequest) -> Iterator[Problem]:
    try:
        how_to_run_program(request.result, bool(request.args))
    except Invalid as error:
        yield Problem("/result", error.text, error.details)


def _mode_to_ask_for(job: Job, script: Script) -> ResultMode | None:
    """A caller of another program waits for JSON: output that is none is a fault, not a log."""
    if script.manifest.command is not None:
        return None
    mode = how_to_run(script.files[script.entry_point].decode("utf-8", "replace"), None, bool(job.args))
    return "json" if mode == "json" else None


def _over(asked: Limits, of_script: Limits) -> Limits:
    return replace(of_script, **{name: value for name, value in asdict(asked).items() if value is not None})


def _limits(asked: LimitsRequest | None, of_script: Limits) -> Limits:
    given = {name: value for name, value in asked.model_dump().items() if value is not None} if asked else {}
    return replace(of_script, **given)


def _retry(asked: RetryRequest | None) -> Retry | None:
    if asked is None:
        return None
    rule = Retry(max_attempts=asked.max_attempts, delay=asked.delay, factor=asked.factor, max_delay=asked.max_delay)
    return rule if asked.on is None else replace(rule, on=tuple(asked.on))


def _limit(request: JobRequest, manifest: Manifest, job: Job, values: dict[str, Any]) -> KeyLimit | None:
    key = _first(request.key, manifest.key)
    concurrency = _first(request.concurrency, manifest.concurrency)
    rate = _first(request.rate, manifest.rate)
    if key is None and concurrency is None and rate is None:
        return None
    return key_limit(job.script if key is None else key, concurrency, rate, values)


def _values(job: Job, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """What a key or a share may be filled in from."""
    return {
        "script": job.script,
        "version": job.version,
        "queue": job.queue,
        "params": parameters or {},
        "labels": job.labels,
    }


def _first(*values: Any) -> Any:
    """The first that says anything."""
    return next((value for value in values if value is not None), None)
