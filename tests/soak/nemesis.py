"""What befalls them: a fault at a time, in an order drawn from a seeded chance; none again before all others were."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.faults.places import Place
from tests.locks import locked
from tests.servers.proxy import Way
from tests.soak.troupe import Troupe

#: the first bytes of the submitter's job ids, by which requests about them are known on the wire
MARK = b"s-0"

Fault = Callable[[], Awaitable[None]]


class Nemesis:
    """Faults by name; each is over when its step returns."""

    def __init__(self, place: Place, troupe: Troupe, chance: random.Random, lease: float) -> None:
        self._place = place
        self._troupe = troupe
        self._chance = chance
        self._lease = lease
        self._faults: dict[str, Fault] = {
            "worker killed": self._worker_killed,
            "worker paused": self._worker_paused,
            "submitter killed": self._submitter_killed,
        } | (self._of_a_server() if place.has_server else {"file locked": self._file_locked})
        self._to_come: list[str] = []
        #: how often each has struck, and which was last
        self.struck: Counter[str] = Counter()
        self.last = ""

    async def strike(self) -> None:
        """One fault, from its beginning to its end."""
        if not self._to_come:
            self._to_come = self._chance.sample(list(self._faults), len(self._faults))
        self.last = self._to_come.pop()
        self.struck[self.last] += 1
        await self._faults[self.last]()

    def _of_a_server(self) -> dict[str, Fault]:
        return {
            "server killed": self._server_killed,
            "server frozen": self._server_frozen,
            "network refuses": self._refused,
            "network swallows": self._swallowed,
            "network slow": self._slow,
            "connections reset": self._reset,
            "connections cut": self._cut,
            "connections half closed": self._half_closed,
            "answers lost": self._answers_lost,
        }

    def _moment(self) -> float:
        """Seconds that a fault lasts: often shorter, at times longer than a lease."""
        return self._chance.uniform(0.1, 1.2 * self._lease)

    # -- those who work and submit --------------------------------------------------------------------------------

    async def _worker_killed(self) -> None:
        self._troupe.kill_worker(self._chance)

    async def _worker_paused(self) -> None:
        await self._troupe.pause_worker(self._chance, self._lease * self._chance.uniform(0.5, 1.5))

    async def _submitter_killed(self) -> None:
        self._troupe.kill_submitter()

    # -- the store ------------------------------------------------------------------------------------------------

    async def _file_locked(self) -> None:
        with locked(self._place.file):
            await asyncio.sleep(self._moment())

    async def _server_killed(self) -> None:
        self._place.server.kill()
        await asyncio.sleep(self._moment() / 2)
        self._place.server.start()

    async def _server_frozen(self) -> None:
        self._place.server.freeze()
        try:
            await asyncio.sleep(self._moment())
        finally:
            self._place.server.thaw()

    # -- the network ----------------------------------------------------------------------------------------------

    async def _refused(self) -> None:
        self._place.proxy.refuse()
        await self._clears()

    async def _swallowed(self) -> None:
        self._place.proxy.black_hole(*self._chance.choice([(Way.IN,), (Way.OUT,), ()]))
        await self._clears()

    async def _slow(self) -> None:
        self._place.proxy.throttle(self._chance.uniform(2_000, 50_000))
        await self._clears()

    async def _cut(self) -> None:
        self._place.proxy.cut_after(self._chance.choice(list(Way)), self._chance.randrange(1, 5000))
        await self._clears()

    async def _reset(self) -> None:
        self._place.proxy.reset()

    async def _half_closed(self) -> None:
        self._place.proxy.half_close(self._chance.choice(list(Way)))

    async def _answers_lost(self) -> None:
        for _ in range(self._chance.randrange(1, 10)):
            self._place.proxy.cut_answer(MARK)
            await asyncio.sleep(0.1)
        self._place.proxy.fair()

    async def _clears(self) -> None:
        try:
            await asyncio.sleep(self._moment())
        finally:
            self._place.proxy.fair()
