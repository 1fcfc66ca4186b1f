"""A caller in a process of its own: asked by a line of JSON, it answers by another."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.processes import Program

#: seconds between two looks whether the worker still runs
LOOK = 2.0


class Caller:
    """Such a process, from `start` to `stop`."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], worker: Program) -> None:
        self._name, self._command, self._environment, self._worker = name, command, environment, worker
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """It takes orders from now on."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, env=self._environment
        )

    async def stop(self) -> None:
        """It has ended; also when it never began."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    @property
    def pids(self) -> list[int]:
        """Its process."""
        return [self._process.pid] if self._process else []

    async def seconds(self, **order: Any) -> float | None:
        """How long an order took it; None where that cannot be done.

        Raises: RuntimeError (it failed; the worker has ended).
        """
        asking = asyncio.ensure_future(self._asked(order))
        try:
            while not (await asyncio.wait([asking], timeout=LOOK))[0]:
                self._worker.check()
        finally:
            asking.cancel()
        return await asking

    async def _asked(self, order: dict[str, Any]) -> float | None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its caller has ended"}
        if "error" in answer:
            raise RuntimeError(f"{self._name}: {answer['error']}")
        seconds: float | None = answer["seconds"]
        return seconds
