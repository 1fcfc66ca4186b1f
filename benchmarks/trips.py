"""How often a verb goes to the server and back, counted between the two."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.backends import Backend
from benchmarks.backlog import MEMORY, SLOTS
from benchmarks.counting import Counter
from benchmarks.notes import Notes, Values
from pumasi.broker import Broker, connect
from pumasi.core.ids import new_id
from pumasi.core.job import Held, Job, Lease, Record, Worker
from pumasi.core.outcome import Completed

#: seconds after a verb in which what nobody waits for goes out, too
AFTER = 0.03
#: jobs of a batch
MANY = 100
WORKER = Worker(id="bench", queues=("default",))


async def measure(backends: list[Backend], times: int) -> Values:
    """The middle of several: trips that the caller waited for, and what was sent besides."""
    notes = Notes()
    for backend in backends:
        if backend.port is None:
            continue
        async with Counter(backend.port) as counter, connect(counter.url(backend.url())) as broker:
            teller = _Teller(counter, backend.name, notes)
            for _ in range(times):
                await _once(broker, teller)
    return notes.medians()


class _Teller:
    """Counts one verb at a time."""

    def __init__(self, counter: Counter, name: str, notes: Notes) -> None:
        self._counter, self._name, self._notes = counter, name, notes

    async def count(self, what: str, verb: Callable[[], Awaitable[Any]]) -> Any:
        """What the verb answers."""
        await asyncio.sleep(AFTER)
        before = self._counter.asked
        answer = await verb()
        waited = self._counter.asked - before
        await asyncio.sleep(AFTER)
        self._notes.add(what, self._name, waited)
        self._notes.add(f"{what}: and not waited for", self._name, self._counter.asked - before - waited)
        return answer


async def _once(broker: Broker, teller: _Teller) -> None:
    await teller.count("submit of 1", lambda: broker.submit(_jobs(1)))
    (lease,) = await teller.count("claim of 1", lambda: broker.claim("bench", ["default"], 1, MEMORY, 5.0))
    said = Record(seq=(1 << 32) + 1, time=0.0, stream="stdout", data=b"x")
    await teller.count("append", lambda: broker.append(lease, [said]))
    await teller.count("settle", lambda: _settle(broker, lease))
    await teller.count(f"submit of {MANY}", lambda: broker.submit(_jobs(MANY)))
    leases: list[Lease] = await teller.count(
        f"claim of {SLOTS}", lambda: broker.claim("bench", ["default"], SLOTS, MEMORY, 5.0)
    )
    held = [Held(lease.id, lease.token) for lease in leases]
    await teller.count(f"heartbeat with {SLOTS} leases", lambda: broker.heartbeat(WORKER, held))
    await teller.count(
        f"settle of {SLOTS} at a time", lambda: asyncio.gather(*(_settle(broker, lease) for lease in leases))
    )
    await teller.count("get", lambda: broker.get(lease.id))
    await teller.count("sweep", lambda: broker.sweep(forget=False))
    while leases := await broker.claim("bench", ["default"], MANY, MEMORY, 0.0):
        await asyncio.gather(*(_settle(broker, lease) for lease in leases))
    await teller.count("claim of nothing", lambda: broker.claim("bench", ["default"], 1, MEMORY, 0.0))


def _jobs(count: int) -> list[Job]:
    return [Job(id=new_id(), script="noop", digest="0" * 64) for _ in range(count)]


async def _settle(broker: Broker, lease: Lease) -> None:
    await broker.settle(lease, Completed(result="{}", result_size=2))
