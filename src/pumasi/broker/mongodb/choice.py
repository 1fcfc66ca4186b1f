"""Choosing: which jobs a claim should try to win, as `core.order` has it.

A merge of lanes. The documents of the lanes say, for each, no later than when its first job was due; the lane that may
be first is looked into, and takes its place by its true first job; so only few are looked into. What is blocked by a
gate, or too large, steps aside. Under contention the front of a lane is gone before the claim comes to it: then one
further behind is chosen, by chance, so that not all run after the same job.
"""

import random
from collections.abc import Iterable

from msgspec import Struct

from pumasi.broker.mongodb import gates, lanes
from pumasi.broker.mongodb.board import Document, Sight
from pumasi.broker.mongodb.database import Database
from pumasi.broker.mongodb.gates import Gate
from pumasi.broker.mongodb.lanes import Lane
from pumasi.broker.mongodb.together import together
from pumasi.core.order import Place, level, turn

#: jobs of a lane that are read beside as many as there are slots: for others will win some of them
_SPARE = 16
#: lanes looked into at once, before it is known whether all of them are needed
_AHEAD = 8

_FIELDS = {"run_at": 1, "revision": 1, "attempt": 1, "turn": 1, "kind": 1}


class Pick(Struct, frozen=True):
    """A job to be won."""

    id: str
    run_at: float
    revision: int
    attempt: int
    kind: str
    lane: Lane


class _Line:
    """A lane, and what is known of the jobs that wait in it."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        #: due ones, in order; None before the first look
        self.jobs: list[Pick] | None = None
        self.last = ""
        self.more = True
        self.taken = False

    @property
    def known(self) -> bool:
        """Whether its first job is known, or that it has none."""
        return self.jobs is not None and (bool(self.jobs) or not self.more)

    def place(self, now: float, ageing: float | None) -> Place:
        """The place of its first job, or one not behind it."""
        if self.jobs:
            first = self.jobs[0]
            return -level(self.lane.priority, first.run_at, now, ageing), first.run_at, first.id
        return -level(self.lane.priority, self.lane.head, now, ageing), self.lane.head, ""


class Choice:
    """What one claim chooses from."""

    def __init__(self, db: Database, sight: Sight, ready: Iterable[Lane], now: float) -> None:
        self._db = db
        self._sight = sight
        self._now = now
        self._lines = [_Line(lane) for lane in ready]
        #: those that stepped aside only because of what this claim was about to take itself
        self._aside: list[_Line] = []
        self._gates: dict[str, Gate] = {}
        #: jobs that others were faster with
        self._losses = 0
        #: whether nobody else came between
        self.undisturbed = True
        #: when something falls due, or may come free, that was seen
        self.times: list[float] = []

    async def pick(self, slots: int, memory: int) -> list[Pick]:
        """Up to so many jobs that fit into the memory in sum."""
        await self._open_turns()
        await self._look_ahead(slots, memory)
        chosen: list[Pick] = []
        while len(chosen) < slots and (line := self._first(memory)) is not None:
            if not line.known:
                await self._look(line, slots)
            elif not line.jobs:
                self._leave(line)
            elif await self._passes(line):
                pick = self._next(line)
                chosen.append(pick)
                memory -= line.lane.memory
        return chosen

    def gate(self, id: str) -> Gate:
        """A gate that was passed."""
        return self._gates[id]

    def place(self, pick: Pick) -> Place:
        """The place of a pick among what other queues offer."""
        rules = self._sight.rules(pick.lane.queue)
        return -level(pick.lane.priority, pick.run_at, self._now, rules.ageing), pick.run_at, pick.id

    def lost(self, refused: Iterable[Pick], jobs: int) -> None:
        """Others were faster, with a gate or with so many jobs."""
        self.undisturbed = False
        self._losses += jobs
        self.put_back(refused)

    def put_back(self, refused: Iterable[Pick]) -> None:
        """These are to be had still; and the gates are not what they were."""
        self._gates.clear()
        self._lines += self._aside
        self._aside.clear()
        back = {line.lane.id: line for line in self._lines}
        for pick in refused:
            line = back[pick.lane.id]
            line.jobs = sorted([pick, *(line.jobs or [])], key=lambda job: (job.run_at, job.id))

    # -- whose turn it is -----------------------------------------------------------------------------------------

    def _first(self, memory: int) -> _Line | None:
        """The line that may be first; of each queue its own first, of these the best."""
        offers: dict[str, tuple[tuple[object, ...], Place, _Line]] = {}
        for line in self._lines:
            lane = line.lane
            if lane.memory > memory:
                continue
            rules = self._sight.rules(lane.queue)
            place = line.place(self._now, rules.ageing)
            key: tuple[object, ...] = place
            if rules.fair:
                key = turn(place, *self._gates[gates.turn_gate(lane.queue)].standing(lane.share))
            best = offers.get(lane.queue)
            if best is None or key < best[0]:
                offers[lane.queue] = (key, place, line)
        first = min(offers.values(), key=lambda offer: offer[1], default=None)
        return None if first is None else first[2]

    def _next(self, line: _Line) -> Pick:
        """Take the first job out of a line, or one near it once others have been faster."""
        assert line.jobs
        pick = line.jobs.pop(random.randrange(min(len(line.jobs), 1 + 4 * self._losses)))
        line.taken = True
        lane = line.lane
        if lane.limit is not None:
            self._gates[gates.key_gate(lane.limit.key)].add(lane.share)
        if self._sight.rules(lane.queue).fair:
            self._gates[gates.turn_gate(lane.queue)].add(lane.share)
        return pick

    async def _passes(self, line: _Line) -> bool:
        """Whether the line's keyed limit lets one more through; if not, the line steps aside."""
        limit = line.lane.limit
        if limit is None:
            return True
        gate = self._gates.get(gates.key_gate(limit.key))
        if gate is None:
            gate = self._gates[gates.key_gate(limit.key)] = await gates.of_key(self._db, limit, self._now)
        free = gate.free_at(limit)
        if free is not None and free <= self._now:
            return True
        self._lines.remove(line)
        likely = gate.likely(limit)
        self.times += [likely] if likely is not None and likely > self._now else []
        if gate.added:  # it is this very claim that takes the last place, if it wins
            self._aside.append(line)
        else:
            await lanes.close(self._db, line.lane, likely, self._now)
        return False

    async def _open_turns(self) -> None:
        fair = {line.lane.queue for line in self._lines if self._sight.rules(line.lane.queue).fair}
        unknown = sorted(queue for queue in fair if gates.turn_gate(queue) not in self._gates)
        found = await together(gates.of_queue(self._db, queue, self._now) for queue in unknown)
        self._gates |= {gate.id: gate for gate in found}

    # -- looking into lanes ---------------------------------------------------------------------------------------

    async def _look_ahead(self, slots: int, memory: int) -> None:
        """Look at once into the lanes that share the first place by level: several are likely to be needed."""
        first = self._first(memory)
        if first is None:
            return
        top = self._level(first)
        likely = [line for line in self._lines if line.lane.memory <= memory and self._level(line) == top]
        likely.sort(key=lambda line: (line is not first, line.lane.head))
        unknown = [line for line in likely[: min(slots, _AHEAD)] if not line.known]
        await together(self._look(line, slots) for line in unknown)

    def _level(self, line: _Line) -> int:
        return line.place(self._now, self._sight.rules(line.lane.queue).ageing)[0]

    async def _look(self, line: _Line, slots: int) -> None:
        """Read the next jobs of a line."""
        query: Document = {
            "lane": {"$eq": line.lane.id},
            "turn": {"$gt": line.last},
            "state": {"$eq": "pending"},
            # a document of another program is to be had where it waits (`inlet`)
            "document": None,
            "expires_at": {"$gt": self._now},
        }
        limit = slots + _SPARE
        found = await self._db.jobs.find(query, _FIELDS).sort([("turn", 1)]).limit(limit).to_list()
        due = [job for job in found if job["run_at"] <= self._now]
        line.more = len(due) == limit
        line.last = found[-1]["turn"] if found else line.last
        line.jobs = [*(line.jobs or []), *(_pick(job, line.lane) for job in due)]
        if len(due) < len(found):
            self.times.append(found[len(due)]["run_at"])
        if not line.jobs and not line.taken:
            await lanes.raise_head(self._db, line.lane, found[0]["run_at"] if found else None)

    def _leave(self, line: _Line) -> None:
        """It is empty; unless a gate gives something back."""
        self._lines.remove(line)
        if line.taken:
            self._aside.append(line)


def _pick(job: Document, lane: Lane) -> Pick:
    return Pick(job["_id"], job["run_at"], job["revision"], job["attempt"], job["kind"], lane)
