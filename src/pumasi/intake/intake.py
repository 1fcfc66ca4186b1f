"""The intake itself: resolve, assemble, store the bundle, submit."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pumasi.broker import Broker
from pumasi.core.ids import new_id
from pumasi.core.job import MAX_ID, Job, Query
from pumasi.errors import BadFields, Conflict, Invalid
from pumasi.intake.assemble import assembled, edited, repeated
from pumasi.intake.fields import Problem, refusal
from pumasi.intake.lookup import locate
from pumasi.intake.request import JobRequest
from pumasi.scripts.base import Reference, Repository, Script
from pumasi.scripts.bundle import entry_of, pack, unpack
from pumasi.scripts.manifest import Manifest, read_manifest

#: seconds during which a bundle that was stored is taken to be there still
_REMEMBER = 3600.0
#: jobs taken in one go
MAX_BATCH = 1000
#: repetitions of a job among which that of its requeue is looked for
_LOOKED_AT = 1000


class Taken(Struct, frozen=True):
    """A job as it is stored, and whether it is a new one: a repetition of a request is answered with the first."""

    job: Job
    fresh: bool


class Intake:
    """Takes jobs in for one broker, with scripts from one repository."""

    def __init__(self, broker: Broker, repository: Repository, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.broker = broker
        self.repository = repository
        self._clock = clock
        self._stored: dict[str, float] = {}

    async def submit(
        self, request: JobRequest, *, idempotency_key: str | None = None, parent: str | None = None
    ) -> Job:
        """The job, stored. Repeated with the same key, the first one.

        Raises:
            BadFields: each field that cannot be, named.
            ScriptNotFound: near names are given.
            Invalid: the script cannot be run as it stands.
            Conflict: the key belongs to another request.
            QueueFull, Unavailable: later, perhaps.
        """
        return (await self.take(request, idempotency_key=idempotency_key, parent=parent)).job

    async def take(
        self, request: JobRequest, *, idempotency_key: str | None = None, parent: str | None = None
    ) -> Taken:
        """As `submit`, and tells a new job from one that was there."""
        key = _checked_key(idempotency_key)
        script = await self.repository.resolve(request.reference)
        job = assembled(request, script, id=new_id(), now=await self.broker.now())
        await self._keep(script)
        return await self._submitted(replace(job, idempotency_key=key, parent=parent))

    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Job]:
        """All of them, or none. Raises: as `submit`; fields are named by their place in the list."""
        if len(requests) > MAX_BATCH:
            raise Invalid(
                "{count} jobs are too many at once; send at most {limit}", count=len(requests), limit=MAX_BATCH
            )
        now = await self.broker.now()
        scripts: dict[Reference, Script] = {}
        jobs: list[Job] = []
        problems: list[Problem] = []
        for n, request in enumerate(requests):
            if request.reference not in scripts:
                scripts[request.reference] = await self.repository.resolve(request.reference)
            try:
                jobs.append(assembled(request, scripts[request.reference], id=new_id(), now=now))
            except BadFields as error:
                problems += [Problem(f"/jobs/{n}{bad['field']}", bad["text"], bad["details"]) for bad in error.fields]
        if problems:
            raise refusal(problems)
        for script in scripts.values():
            await self._keep(script)
        return await self.broker.submit(jobs)

    async def retry(
        self, id: str, *, parameters: dict[str, Any] | None = None, idempotency_key: str | None = None
    ) -> Job:
        """A new job that asks for the same as one that has ended, with the same content of its script; `parameters`
        stand in place of the old ones. A dead letter is one no more.

        Raises: JobNotFound, Invalid (the prefix fits several), BadFields (parameters), Conflict (it has not ended),
            QueueFull, Unavailable.
        """
        job = await locate(self.broker, id)
        if not job.ended:
            raise Conflict("job {id} has not ended, it is {state}; cancel it first", id=job.id, state=job.state.value)
        return await self._repeat(job, parameters, _checked_key(idempotency_key))

    async def requeue(self, id: str, *, parameters: dict[str, Any] | None = None) -> Job:
        """As `retry`, of a dead letter; asked for again, it is answered with the job that it made.

        Raises: as `retry`; Conflict also when it is none, or was requeued with other parameters.
        """
        job = await locate(self.broker, id)
        key = f"requeue/{hashlib.sha256(job.id.encode()).hexdigest()}"
        if job.dead:
            return await self._repeat(job, parameters, key)
        made = await self._made(job, key)
        if made is None:
            raise _no_dead_letter(job)
        if made.body_hash != (await self._again(job, parameters)).body_hash:
            text = "job {id} was requeued already, with other parameters: see what became of job {made}"
            raise Conflict(text, id=job.id, made=made.id)
        return made

    async def discard(self, id: str) -> Job:
        """A dead letter that somebody has seen, and wants nothing more of; its record stays as long as any other.

        Raises: JobNotFound, Invalid (the prefix fits several), Conflict (it is none), Unavailable.
        """
        job = await locate(self.broker, id)
        if not job.dead and job.resolved != "discarded":
            raise _no_dead_letter(job)
        return await self.broker.resolve(job.id, "discarded")

    async def _repeat(self, job: Job, parameters: dict[str, Any] | None, key: str | None) -> Job:
        taken = await self._submitted(replace(await self._again(job, parameters), idempotency_key=key))
        await self.broker.resolve(job.id, "requeued")
        return taken.job

    async def _again(self, job: Job, parameters: dict[str, Any] | None) -> Job:
        """A job that asks for the same, but for these parameters."""
        again = repeated(job, id=new_id())
        return again if parameters is None else edited(again, parameters, await self._manifest(job))

    async def _made(self, job: Job, key: str) -> Job | None:
        """The job that a requeue has made under this key. Found, not submitted anew: its key goes with its record."""
        page = await self.broker.find(Query(parent=job.id, limit=_LOOKED_AT))
        return next((made for made in page.jobs if made.idempotency_key == key), None)

    async def _manifest(self, job: Job) -> Manifest | None:
        """What the content that a job is bound to says of itself; None when it is bound to none.

        Raises: Invalid (the content is gone).
        """
        if job.digest is None:
            return None
        data = await self.broker.get_blob(f"script/{job.digest}")
        if data is None:
            raise Invalid("the files of script {name!r} are no longer in the store; submit it again", name=job.script)
        files = await asyncio.to_thread(unpack, data)
        return read_manifest(files, job.script, entry_point=entry_of(files))

    async def _submitted(self, job: Job) -> Taken:
        (stored,) = await self.broker.submit([job])
        return Taken(stored, stored.id == job.id)

    async def _keep(self, script: Script) -> None:
        """See to it that workers find the bundle: stored once, and again before the broker could forget it."""
        now = self._clock()
        known = self._stored.get(script.digest)
        if known is not None and now - known < min(_REMEMBER, self.broker.retention / 2):
            return
        await self.broker.put_blob(f"script/{script.digest}", await asyncio.to_thread(pack, script.files))
        self._stored = {digest: at for digest, at in self._stored.items() if now - at < _REMEMBER}
        self._stored[script.digest] = now


def _no_dead_letter(job: Job) -> Conflict:
    return Conflict(
        "job {id} is no dead letter: it is {state}; `pumasi dead` lists them",
        id=job.id,
        state=job.resolved or job.state.value,
    )


def _checked_key(key: str | None) -> str | None:
    if key is None or (0 < len(key) <= MAX_ID and key.isprintable()):
        return key
    raise Invalid("an Idempotency-Key has 1 to {limit} printable characters", limit=MAX_ID)
