"""What a client needs of whoever it speaks to. Every verb may be repeated without harm."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pumasi.core.job import Event, Job, Page, Query, Queue, QueueSettings, Record, Stats, Worker
from pumasi.errors import Invalid
from pumasi.intake import JobRequest
from pumasi.scripts.base import ScriptInfo


class Transport(ABC):
    """A gateway, or a broker. All verbs raise Unavailable when it does not answer."""

    @abstractmethod
    async def open(self) -> None:
        """Make ready to speak."""

    @abstractmethod
    async def close(self) -> None:
        """Let go; safe to repeat."""

    @abstractmethod
    async def submit(self, request: JobRequest, key: str) -> Job:
        """The job; the same key again is answered with the same job. Raises: as `Intake.submit`."""

    @abstractmethod
    async def submit_many(self, requests: Sequence[JobRequest]) -> list[Job]:
        """All of them, or none."""

    @abstractmethod
    async def get(self, id: str) -> Job:
        """The job with its result inline, by its id or a unique beginning of it. Raises: JobNotFound, Invalid."""

    @abstractmethod
    async def wait(self, id: str, seconds: float) -> Job:
        """As `get`, once the job has ended, or as it stands after `seconds`, or earlier."""

    @abstractmethod
    async def find(self, query: Query) -> Page:
        """Jobs; large results are left out."""

    @abstractmethod
    async def cancel(self, id: str) -> Job:
        """The job, cancelled or about to be."""

    @abstractmethod
    async def retry(self, id: str, key: str, parameters: Mapping[str, Any] | None) -> Job:
        """A new job that asks for the same, or with other parameters."""

    @abstractmethod
    async def requeue(self, id: str, parameters: Mapping[str, Any] | None) -> Job:
        """As `retry`, of a dead letter."""

    @abstractmethod
    async def discard(self, id: str) -> Job:
        """A dead letter that is one no more."""

    async def create_job(self, *values: Any) -> str:
        """As `AsyncClient.create_job`. Raises: Invalid, where there is no MongoDB."""
        raise Invalid("create_job inserts a document into MongoDB; connect to a mongodb:// URL, or use submit")

    @abstractmethod
    def logs(self, id: str, follow: bool, after: int) -> AsyncIterator[Record]:
        """Log records behind `after`; with `follow` until the job has ended."""

    @abstractmethod
    async def full_log(self, id: str) -> bytes:
        """All that was kept of what it printed."""

    @abstractmethod
    def watch(self, job: str | None, queue: str | None, after: int | None) -> AsyncIterator[Event]:
        """Changes, as they come; of one job until it has ended, beginning with how it stands."""

    @abstractmethod
    async def artifacts(self, id: str) -> dict[str, int]:
        """Names and sizes."""

    @abstractmethod
    async def artifact(self, id: str, name: str) -> bytes:
        """One of them. Raises: ArtifactNotFound."""

    @abstractmethod
    async def scripts(self) -> list[ScriptInfo]:
        """The scripts there are."""

    @abstractmethod
    async def workers(self) -> list[Worker]:
        """The workers there are."""

    @abstractmethod
    async def queues(self) -> list[Queue]:
        """The queues there are."""

    @abstractmethod
    async def set_queue(self, name: str, settings: QueueSettings) -> Queue:
        """Change a queue."""

    @abstractmethod
    async def stats(self) -> Stats:
        """Everything at a glance."""
