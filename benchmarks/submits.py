"""How many jobs a second a broker takes in, through the intake that everybody goes through."""

import asyncio
import time
from pathlib import Path

from benchmarks.backends import Backend
from benchmarks.notes import Notes, Values
from benchmarks.ours import submits
from pumasi.broker import connect
from pumasi.intake import Intake, JobRequest
from pumasi.scripts.local import LocalRepository

#: callers that submit at the same time
CALLERS = 16


async def measure(backends: list[Backend], scripts: Path, jobs: int, rounds: int) -> Values:
    """Each backend in turn, `rounds` times: one by one, from several at a time, in batches."""
    notes = Notes()
    for _ in range(rounds):
        for backend in backends:
            for batch, count, what in ((False, jobs // 4, "one by one"), (True, jobs, "in batches of 500")):
                seconds = await submits(backend.url(), scripts, count, batch=batch)
                notes.add(f"submits/s, {what}", backend.name, count / seconds)
            rate = await _together(backend.url(), scripts, jobs // 2)
            notes.add(f"submits/s, one by one by {CALLERS} at a time", backend.name, rate)
    return notes.medians()


async def _together(url: str, scripts: Path, count: int) -> float:
    async with connect(url) as broker:
        intake = Intake(broker, LocalRepository(scripts))
        request = JobRequest(script="noop")
        await intake.submit(request)

        async def caller() -> None:
            for _ in range(count // CALLERS):
                await intake.submit(request)

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return CALLERS * (count // CALLERS) / (time.perf_counter() - began)
