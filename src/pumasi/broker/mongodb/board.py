"""The board: one document that all who use the store look at.

    {_id: "board", schema, change: the latest change number, now: when it was taken, settings: how often settings
     changed, queues: [settings], flights: {name: [below, at]}}

**Change numbers.** A write takes its numbers from the board first, then writes the job. Between the two its number is
*in flight*: a later number may become visible before it. So the one update that takes numbers also notes a flight,
"numbers above `below` are on their way since `at`", and the flight is struck off once the write is done. Whoever reads
jobs in order of change reads only as far as the lowest flight of others reaches (`horizon`): nobody can move past a
change that is still to come. Flights of a crashed process count no more after `OVER` seconds.

Flights are struck off with the next numbers taken, or in the background before a hint is sent, so they cost next to
nothing. Numbers are taken with write concern 1: should a failover lose one, the write that follows it is in the log of
the same server after it, and is lost with it or not at all.

The same update tells the server's time: so what is stamped in a flight has the right one, even just after the server's
clock was set.

**Nothing new.** No job changes without a number. So if the change number, and that of the settings, are what they were
before a look that found nothing, and no flights were under way then, there is still nothing to be found.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import UNSET, Struct
from msgspec.structs import asdict, replace
from pymongo import ReturnDocument, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import PyMongoError

from pumasi.broker.mongodb.times import Clock, Stopwatch, seconds
from pumasi.broker.mongodb.together import given_up
from pumasi.core.job import QueueSettings
from pumasi.errors import Unavailable

Document = dict[str, Any]

#: raised when collections or indexes change
SCHEMA = 1
_BOARD = {"_id": "board"}
#: seconds after which flights that are over are struck off, if no later write has done so
_STRIKE = 0.05
#: how often a compare and swap of settings is tried
_TRIES = 50


class Rules(Struct, frozen=True):
    """The settings of one queue."""

    name: str
    paused: bool = False
    max_pending: int | None = None
    ageing: float | None = None
    fair: bool = False

    def changed(self, by: QueueSettings) -> "Rules":
        """With what a change sets; what it leaves unset stays."""
        return replace(self, **{name: value for name, value in asdict(by).items() if value is not UNSET})


class Sight(Struct, frozen=True):
    """The board, as it stood."""

    change: int
    settings: int
    queues: Mapping[str, Rules]
    flights: Mapping[str, tuple[int, float]]

    def rules(self, queue: str) -> Rules:
        """The settings of a queue."""
        return self.queues.get(queue) or Rules(queue)

    @property
    def version(self) -> tuple[int, int]:
        """What is different once anything has changed."""
        return self.change, self.settings


class Flight(Stopwatch):
    """Change numbers taken for a write that is still to come."""

    def __init__(self, last: int, n: int, sight: Sight) -> None:
        super().__init__()
        self.numbers = range(last - n + 1, last + 1)
        self.sight = sight


class Board:
    """The board, as one event loop of one process uses it."""

    def __init__(self, collection: AsyncCollection[Document], clock: Clock) -> None:
        self._collection = collection
        self._hasty = collection.with_options(write_concern=WriteConcern(1))
        self._clock = clock
        self._name = os.urandom(6).hex()
        self._flown = 0
        self._seen = 0
        #: flights of ours that are over, and not struck off yet
        self._done: set[str] = set()
        self._striking: asyncio.Task[None] | None = None

    async def schema(self) -> int:
        """The schema of the collections; 0 when there are none yet."""
        found = await self._collection.find_one(_BOARD)
        return 0 if found is None else int(found["schema"])

    async def create(self) -> None:
        """Put it up, unless somebody was faster; note that the schema is ours."""
        empty = {"change": 0, "settings": 0, "queues": [], "flights": {}}
        await self._collection.update_one(_BOARD, {"$setOnInsert": empty, "$set": {"schema": SCHEMA}}, upsert=True)

    async def look(self) -> Sight:
        """The board as it stands."""
        return self._sight(await self._collection.find_one(_BOARD))

    @contextlib.asynccontextmanager
    async def flight(self, n: int) -> AsyncIterator[Flight]:
        """Take `n` change numbers for a write inside. When it fails in a way that leaves open whether it was done, the
        flight stays until its time is over."""
        self._flown += 1
        name, now = f"{self._name}{self._flown}", self._clock.now()
        done = list(self._done)
        taken = {"$inc": {"change": n}, "$set": {f"flights.{name}": [self._seen, now]}}
        update: Document = {**taken, "$currentDate": {"now": True}}
        if done:
            update["$unset"] = {f"flights.{other}": "" for other in done}
        found = await self._hasty.find_one_and_update(_BOARD, update, return_document=ReturnDocument.AFTER)
        self._done.difference_update(done)
        sight = self._sight(found)
        if found is not None:
            self._clock.heard(seconds(found["now"]))
        self._done.update(_over(sight, self._clock.past()))
        try:
            yield Flight(sight.change, n, sight)
        except PyMongoError:
            raise
        except Exception:
            self._over(name)
            raise
        else:
            self._over(name)

    def horizon(self, sight: Sight) -> int:
        """The greatest number below which no change is still to come."""
        past = self._clock.past()
        return min((below for below, at in self._others(sight).values() if at > past), default=sight.change)

    def calm(self, sight: Sight) -> bool:
        """Whether nothing was in flight."""
        past = self._clock.past()
        return all(at <= past for _, at in self._others(sight).values())

    async def set_queue(self, name: str, settings: QueueSettings) -> None:
        """Change the settings of one queue."""
        for _ in range(_TRIES):
            sight = await self.look()
            queues = {**sight.queues, name: sight.rules(name).changed(settings)}
            update = {"$set": {"queues": [asdict(rules) for rules in queues.values()]}, "$inc": {"settings": 1}}
            same = {**_BOARD, "settings": {"$eq": sight.settings}}
            if (await self._collection.update_one(same, update)).matched_count:
                return
        raise Unavailable("the settings of the queues keep changing; try again")

    async def strike(self) -> None:
        """Strike off the flights of ours that are over, so that others can see what they brought."""
        done = list(self._done)
        if done:
            await self._hasty.update_one(_BOARD, {"$unset": {f"flights.{name}": "" for name in done}})
            self._done.difference_update(done)

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._striking is not None:
            await given_up(self._striking)
        with contextlib.suppress(PyMongoError):
            await self.strike()

    def _sight(self, found: Document | None) -> Sight:
        if found is None:
            raise Unavailable("the collections of the MongoDB broker were removed; start again to have them made anew")
        self._seen = max(self._seen, int(found["change"]))
        queues = {rules["name"]: Rules(**rules) for rules in found["queues"]}
        flights = {name: (int(below), float(at)) for name, (below, at) in found["flights"].items()}
        return Sight(int(found["change"]), int(found["settings"]), queues, flights)

    def _others(self, sight: Sight) -> dict[str, tuple[int, float]]:
        return {name: flight for name, flight in sight.flights.items() if name not in self._done}

    def _over(self, name: str) -> None:
        self._done.add(name)
        if self._striking is None or self._striking.done():
            self._striking = asyncio.create_task(self._strike_off())

    async def _strike_off(self) -> None:
        await asyncio.sleep(_STRIKE)
        with contextlib.suppress(PyMongoError):  # then their time runs out
            await self.strike()


def _over(sight: Sight, past: float) -> set[str]:
    """Flights whose time is over: whoever took them is gone."""
    return {name for name, (_, at) in sight.flights.items() if at <= past}
