"""The caller of Pumasi, in a process of its own as the callers of the others are: a line of JSON in, one out.

python -m benchmarks.driver redis://127.0.0.1:1234/0 /…/scripts
{"do": "call"}   →   {"seconds": 0.006}
"""

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from benchmarks.ours import BATCH
from pumasi import Client
from pumasi.broker import connect
from pumasi.intake import Intake, JobRequest
from pumasi.scripts.local import LocalRepository

NOOP = JobRequest(script="noop")
UNSERVED = JobRequest(script="noop", queue="unserved")


class Pumasi:
    """One call by the client for programs without an event loop; many at once as a gateway takes them in."""

    def __init__(self, url: str, scripts: str) -> None:
        self._client = Client(url, scripts=scripts)
        self._runner = asyncio.Runner()
        self._broker = connect(url)
        self._do(self._broker.open())
        self._intake = Intake(self._broker, LocalRepository(Path(scripts)))

    def close(self) -> None:
        """Let go of both."""
        self._client.close()
        self._do(self._broker.close())
        self._runner.close()

    def call(self) -> None:
        """Submit, wait, result."""
        self._client.run("noop", timeout=60)

    def run(self, count: int) -> None:
        """All in, and each one ended."""
        self._do(self._run(count))

    def submit(self, count: int, batch: bool) -> None:
        """Into a queue that nobody serves."""
        self._do(self._batches(UNSERVED, count) if batch else self._singles(count))

    def _do(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(step)

    async def _run(self, count: int) -> None:
        for id in await self._batches(NOOP, count):
            job = await self._broker.wait(id, 300.0)
            if job.state != "completed":
                raise RuntimeError(f"job {id} is {job.state.value}: {job.error}")

    async def _batches(self, request: JobRequest, count: int) -> list[str]:
        ids: list[str] = []
        while len(ids) < count:
            jobs = await self._intake.submit_many([request] * min(BATCH, count - len(ids)))
            ids += [job.id for job in jobs]
        return ids

    async def _singles(self, count: int) -> None:
        for _ in range(count):
            await self._intake.submit(UNSERVED)


def main() -> None:
    """Orders until there are no more."""
    system = Pumasi(*sys.argv[1:3])
    for line in sys.stdin:
        order = json.loads(line)
        began = time.perf_counter()
        try:
            getattr(system, order.pop("do"))(**order)
            answer: dict[str, Any] = {"seconds": time.perf_counter() - began}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    system.close()


if __name__ == "__main__":
    main()
