"""Bare jobs: requests of programs that know no gateway. They name a script, and no content of it.

The worker does for them what an intake does for others, by the folders it has: a name is looked up among its scripts;
a path, which a document of another program may name, below the folders that it is allowed to run from.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from pumasi.core.job import Job
from pumasi.errors import FetchFault
from pumasi.intake.assemble import bound
from pumasi.scripts.base import Reference, Script
from pumasi.scripts.cache import Cache, Cached
from pumasi.scripts.local import LocalRepository
from pumasi.scripts.placed import PlacedScripts

#: seconds that no run lasts: a document without a time limit is not given the worker's
ENDLESS = 10 * 365 * 86400.0


class BareJobs:
    """Finds the scripts of bare jobs."""

    def __init__(self, scripts: Path, script_paths: Sequence[Path], cache: Cache) -> None:
        """Names are found in the folder `scripts`, paths below `script_paths`."""
        self._named = LocalRepository(scripts)
        self._placed = PlacedScripts(script_paths)
        self._cache = cache

    async def find(self, job: Job) -> tuple[Job, Cached]:
        """The job, bound to what is found under its name just now, and that, ready to run.

        Raises:
            ScriptNotFound, Invalid: as an intake would.
            FetchFault: it cannot be kept in the cache.
        """
        if "/" in job.script:
            script = await self._placed.resolve(job.script)
            limits = replace(job.limits, cpu=job.limits.cpu or ENDLESS)
            job = replace(job, limits=limits, timeout=job.timeout or ENDLESS, result_mode=job.result_mode or "none")
        else:
            script = await self._named.resolve(Reference.parse(job.reference))
        return bound(job, script), await self._kept(script)

    async def _kept(self, script: Script) -> Cached:
        try:
            return await self._cache.get(script.digest) or await self._cache.put(script.files)
        except OSError as error:
            raise FetchFault(
                "script {name!r} cannot be kept in the cache: {problem}", name=script.name, problem=str(error)
            ) from error
