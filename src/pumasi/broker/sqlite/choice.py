"""Which jobs a claim gets: the order of `core.order` over lanes, read no further than it must be.

Each queue offers its jobs in its own order, one at a time; a claim merges what the queues offer, and takes what there
is room for. A line merges lanes: each is a candidate by its first job, known without looking into it; when its turn
comes it gives way to its jobs and to the lane behind it. So a claim reads the best lanes, never the jobs behind them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush, merge
from typing import NamedTuple

from pumasi.broker.sqlite.database import Database, Row
from pumasi.broker.sqlite.lanes import Ledger, limit_of
from pumasi.core.job import KeyLimit
from pumasi.core.order import PRIORITIES, Place, level, turn


class Lane(NamedTuple):
    """Jobs alike, of which a claim may have all, from the front, or none."""

    id: int
    queue: str
    priority: int
    memory: int
    share: str
    limit: KeyLimit | None


class Offer(NamedTuple):
    """A job that a queue offers; with row 0 a lane not looked into yet, by its first job."""

    place: Place
    row: int
    lane: Lane
    #: what comes behind it: jobs of its lane, or other lanes
    others: Iterator[Row]


class Choice(NamedTuple):
    """What a claim may have, best first; and when a job falls due that was seen behind others."""

    chosen: list[Offer]
    next_at: float | None


def choose(db: Database, queues: Sequence[str], slots: int, memory: int, now: float) -> Choice:
    """Up to `slots` jobs that fit into `memory` in sum. Reads only."""
    room = _Room(db, memory, now)
    for offer in merge(*(_offers(db, queue, room) for queue in queues)):
        if room.admits(offer.lane):
            room.take(offer)
        if len(room.chosen) == slots:
            break
    return Choice(room.chosen, min(room.times, default=None))


class _Room:
    """What a claim may still have, as it fills up."""

    def __init__(self, db: Database, memory: int, now: float) -> None:
        self.now = now
        self.memory = memory
        self.chosen: list[Offer] = []
        self.times: list[float] = []
        self._ledger = Ledger(db)
        #: by queue, how many of each share were taken, and which of the claim's jobs was its last
        self.taken: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.last: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def admits(self, lane: Lane) -> bool:
        if lane.memory > self.memory:
            return False
        free = self._ledger.free_at(lane.limit, self.now)
        return free is not None and free <= self.now

    def take(self, offer: Offer) -> None:
        lane = offer.lane
        self.chosen.append(offer)
        self.memory -= lane.memory
        self._ledger.add(lane.limit)
        self.taken[lane.queue][lane.share] += 1
        self.last[lane.queue][lane.share] = len(self.chosen)


def _offers(db: Database, queue: str, room: _Room) -> Iterator[Offer]:
    """The jobs that a queue offers, in its order."""
    ageing, fair = db.one("order_of", queue=queue) or (None, False)
    if fair:
        return _in_turn(db, queue, ageing, room)
    return iter(_Line(db, _lanes(db, queue, ageing, room), ageing, room))


def _lanes(db: Database, queue: str, ageing: float | None, room: _Room) -> list[Iterator[Row]]:
    """The ready lanes of a queue, best first. With ageing that is known only of those of one priority."""
    if ageing is None:
        return [db.run("ready_lanes", queue=queue, memory=room.memory)]
    return [db.run("ready_lanes_of", queue=queue, memory=room.memory, priority=priority) for priority in PRIORITIES]


def _in_turn(db: Database, queue: str, ageing: float | None, room: _Room) -> Iterator[Offer]:
    """The jobs of a fair queue: each share's next, the share whose turn it is first."""
    lanes: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in db.all("ready_lanes", queue=queue, memory=room.memory):
        _, priority, _, share, *_ = row
        lanes[share][priority].append(row)
    lines = {share: _Line(db, map(iter, alike.values()), ageing, room) for share, alike in lanes.items()}
    running: dict[str, int] = dict(db.all("running_of_shares", queue=queue))
    served: dict[str, int] = dict(db.all("served", queue=queue))
    latest = db.value("position")

    def place(share: str) -> tuple[int, int, int, float, str]:
        last = room.last[queue].get(share)
        runs = running.get(share, 0) + room.taken[queue][share]
        return turn(lines[share].best, runs, served.get(share, 0) if last is None else latest + last)

    while lines:
        first = min(lines, key=place)
        offer = lines[first].advance()
        if offer is not None:
            yield offer
        if not lines[first]:
            del lines[first]


class _Line:
    """Lanes, merged by the places of their jobs."""

    def __init__(self, db: Database, sources: Iterable[Iterator[Row]], ageing: float | None, room: _Room) -> None:
        """A line over lanes in `sources`, each of which is in order."""
        self._db = db
        self._ageing = ageing
        self._room = room
        self._heap: list[Offer] = []
        for source in sources:
            self._push_lane(source)

    def __bool__(self) -> bool:
        return bool(self._heap)

    def __iter__(self) -> Iterator[Offer]:
        while self:
            offer = self.advance()
            if offer is not None:
                yield offer

    @property
    def best(self) -> Place:
        """The place of what comes first."""
        return self._heap[0].place

    def advance(self) -> Offer | None:
        """Take out what comes first; None when that was no job that can be had, or a lane to be looked into."""
        offer = heappop(self._heap)
        lane, opened = offer.lane, offer.row != 0
        if not opened:
            self._push_lane(offer.others)
        if not self._room.admits(lane):
            return None
        jobs = offer.others if opened else self._db.run("lane_jobs", lane=lane.id, now=self._room.now)
        pushed = self._push_job(lane, jobs)
        if not (opened or pushed):  # all that are due have expired
            self._room.times += [at for (at,) in self._db.all("lane_next", lane=lane.id, now=self._room.now)]
        return offer if opened else None

    def _push_lane(self, lanes: Iterator[Row]) -> None:
        for id, priority, memory, share, keyed, queue, head_at, head_id in lanes:
            lane = Lane(id, queue, priority, memory, share, limit_of(keyed))
            heappush(self._heap, Offer(self._place(lane, head_at, head_id), 0, lane, lanes))
            return

    def _push_job(self, lane: Lane, jobs: Iterator[Row]) -> bool:
        for row, run_at, id in jobs:
            heappush(self._heap, Offer(self._place(lane, run_at, id), row, lane, jobs))
            return True
        return False

    def _place(self, lane: Lane, run_at: float, id: str) -> Place:
        return -level(lane.priority, run_at, self._room.now, self._ageing), run_at, id
