"""What befalls a store, its network and those who speak to it: nothing is lost, nothing ends twice, work goes on."""

import asyncio
import contextlib
import functools
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from pumasi.broker import connect
from pumasi.broker.base import Broker
from pumasi.core.job import Held, Job, Lease, Record, State, Worker
from pumasi.core.outcome import Completed
from pumasi.errors import Unavailable
from tests.faults.actor import ROOM, answered
from tests.faults.places import BACKENDS, SERVERS, open_to_all, place, server_of
from tests.faults.stage import BEAT, LEASE, OUT_OF_REACH, SOON, Stage, staged
from tests.faults.turned import Turned
from tests.harness import System
from tests.locks import locked
from tests.notes import Notes
from tests.processes import processes
from tests.servers import Server
from tests.servers.proxy import Proxy, Way

pytestmark = pytest.mark.timeout(100)

#: a call is given up by then when nothing comes back
NOTICED = 20.0
with_server = pytest.mark.parametrize("server", SERVERS, indirect=True)
with_any = pytest.mark.parametrize("server", BACKENDS, indirect=True)
with_file = pytest.mark.parametrize("server", ["sqlite"], indirect=True)


class Host:
    """A backend, and its server for all tests of this module, by a clock that can be set."""

    def __init__(self, backend: str, folder: Path) -> None:
        folder.mkdir()
        self.backend = backend
        self.server = server_of(backend, folder)
        self.clock = Turned(folder)
        if self.server is not None:
            started = self.server.command
            self.server.command = lambda: self.clock.command(started())  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Callable[[str], Host]]:
    """A server each, started when it is first asked for."""
    with contextlib.ExitStack() as running:
        folder = running.enter_context(open_to_all())

        @functools.cache
        def host(backend: str) -> Host:
            one = Host(backend, folder / backend)
            if one.server is not None:
                running.callback(one.server.stop)
                one.server.start()
            return one

        yield host


@pytest.fixture
def server(request: pytest.FixtureRequest, hosts: Callable[[str], Host]) -> Iterator[Host]:
    """The backend of a case; afterwards it runs, at the right time."""
    host = hosts(request.param)
    yield host
    host.clock.set(0)
    if host.server is not None and not host.server.answers():
        host.server.stop()
        host.server.start()


@pytest.fixture
async def stage(server: Host, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged_at(server, tmp_path) as stage:
        yield stage


@contextlib.asynccontextmanager
async def staged_at(host: Host, folder: Path) -> AsyncIterator[Stage]:
    """A stage in a space of its own."""
    with place(host.backend, host.server, folder, f"t{uuid.uuid4().hex[:12]}") as where:
        async with staged(where, folder) as stage:
            yield stage


async def restart(server: Server, away: float = 0.3) -> None:
    """Its process is killed, and another takes its place after a while."""
    server.kill()
    await asyncio.sleep(away)
    server.start()  # from this thread: such a server ends with the thread that started it


async def repeated(ask: Callable[[], Awaitable[object]], stage: Stage, mark: str) -> object:
    """What is answered in the end to a call whose first answer is lost after the server has done what it asks."""
    stage.place.proxy.cut_answer(mark.encode())
    answer = await answered(ask)
    assert stage.place.proxy.cut.is_set(), "the request was not seen on the wire"
    return answer


# -- the server -------------------------------------------------------------------------------------------------------


@with_server
async def test_a_server_killed_under_load(stage: Stage) -> None:
    for n in range(2):
        stage.worker(f"w{n}", unlucky=0.2)
    submitter = stage.submitter("s", 150, spread=2.0, longest=0.05, once_every=5)
    for n in (30, 80):
        await stage.ended(n)
        await restart(stage.place.server)
    await stage.one_more()
    await asyncio.to_thread(submitter.wait, 30)
    events = await stage.verdict()
    assert len({event.job for event in events if event.what == "submit_ok"}) == 151


@with_server
async def test_after_a_restart_owners_refresh_their_leases_before_others_may_take_them(stage: Stage) -> None:
    stage.worker("owner", slots=1, beat=0.8 * LEASE)
    await stage.submit("long", seconds=2.5)
    begun = await stage.running("long")
    stage.worker("hungry")
    await stage.one_more()  # it is there
    await restart(stage.place.server, away=1.5 * LEASE)
    job = await stage.end_of("long")
    assert (job.state, job.attempt, job.token) == (State.COMPLETED, 1, begun.token)
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_a_server_that_freezes(stage: Stage) -> None:
    stage.worker("w")
    await stage.submit("a", seconds=0.5)
    await stage.running("a")
    stage.place.server.freeze()
    await asyncio.sleep(1.5 * LEASE)
    stage.place.server.thaw()
    await stage.one_more()
    await stage.verdict()


# -- the network ------------------------------------------------------------------------------------------------------


@with_server
async def test_what_runs_while_the_broker_is_out_of_reach_finishes_and_is_reported(stage: Stage) -> None:
    stage.worker("w")
    await stage.submit("a", seconds=0.5 * LEASE)
    begun = await stage.running("a")
    stage.place.proxy.refuse()
    await asyncio.sleep(OUT_OF_REACH)
    await stage.saw(lambda event: event.job == "a" and event.what == "exec_end")
    stage.place.proxy.fair()
    job = await stage.end_of("a")
    assert (job.state, job.attempt, job.token) == (State.COMPLETED, 1, begun.token)
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_one_cut_off_from_the_broker_is_replaced_and_comes_too_late(stage: Stage) -> None:
    stage.worker("far")
    await stage.submit("a", seconds=0.5)
    await stage.running("a")
    stage.place.proxy.refuse()
    stage.worker("near", url=stage.place.url(lease=LEASE))
    job = await stage.end_of("a")
    assert (job.state, job.attempt) == (State.COMPLETED, 2)
    stage.place.proxy.fair()
    await stage.saw(lambda event: event.what == "settle_refused" and event.by == "far")
    await stage.one_more()
    await stage.verdict()


async def test_a_black_hole_is_noticed_in_time(hosts: Callable[[str], Host], tmp_path: Path) -> None:
    """A call that gets no answer fails, and the same broker is well again afterwards: on all servers at once, as it
    takes as long as their deadlines."""

    async def swallowed(stage: Stage, *ways: Way) -> None:
        with Proxy(stage.place.server.port) as network:
            async with connect(network.url(stage.place.url())) as broker:
                network.black_hole(*ways)
                async with asyncio.timeout(NOTICED):
                    with pytest.raises(Unavailable):
                        await broker.position()
                network.fair()
                async with asyncio.timeout(SOON):
                    await answered(broker.position)

    async def holed(host: Host) -> None:
        async with staged_at(host, tmp_path / host.backend) as stage:
            stage.worker("w")
            await stage.submit("a", seconds=0.5)
            begun = await stage.running("a")
            stage.place.proxy.black_hole()
            await asyncio.gather(swallowed(stage, Way.IN), swallowed(stage, Way.OUT), swallowed(stage))
            stage.place.proxy.fair()
            job = await stage.end_of("a")
            assert (job.attempt, job.token) == (1, begun.token)
            await stage.one_more()
            await stage.verdict()

    await asyncio.gather(*(holed(hosts(backend)) for backend in SERVERS))


@with_server
async def test_a_submit_whose_answer_is_lost(stage: Stage) -> None:
    async with connect(stage.place.far(lease=LEASE)) as broker:
        await broker.position()
        jobs = [Job(id=f"cut-{n}", script="a", parameters='{"seconds": 0}') for n in range(3)]
        stored = await repeated(lambda: broker.submit(jobs), stage, "cut-1")
        assert stored == await stage.look([job.id for job in jobs])
        for job in jobs:
            stage.eye.submitted(job)
    stage.worker("w")
    await stage.one_more()
    events = await stage.verdict()
    assert sum(1 for event in events if event.what == "exec_start") == 4


@with_server
async def test_a_claim_whose_answer_is_lost(stage: Stage) -> None:
    async with connect(stage.place.far(lease=30)) as broker:
        for n in range(3):
            await stage.submit(f"j{n}")
        leases = await repeated(lambda: broker.claim("me", ["default"], 2, ROOM, 0, "claim-cut"), stage, "claim-cut")
        assert isinstance(leases, list)
        assert [(lease.id, lease.job.attempt) for lease in leases] == [("j0", 1), ("j1", 1)]
        (other,) = await broker.claim("me", ["default"], 9, ROOM, 0)
        assert other.id == "j2"
        for lease in [*leases, other]:
            stage.eye.settled(lease, await broker.settle(lease, Completed(result="1")))
    stage.worker("w")
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_a_settle_whose_answer_is_lost(stage: Stage) -> None:
    async with connect(stage.place.far(lease=30)) as broker:
        lease = await claimed(stage, broker)
        job = await repeated(lambda: broker.settle(lease, Completed(result='"the cut result"')), stage, "cut result")
        assert isinstance(job, Job)
        stage.eye.settled(lease, job)
        assert [job] == await stage.look(["a"])
        assert (job.state, job.attempt, job.revision) == (State.COMPLETED, 1, lease.job.revision + 1)
    stage.worker("w")
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_a_heartbeat_and_log_whose_answers_are_lost(stage: Stage) -> None:
    async with connect(stage.place.far(lease=30)) as broker:
        lease = await claimed(stage, broker)
        held = Held(lease.id, lease.token, started=True)
        assert await repeated(lambda: broker.heartbeat(Worker(id="cut-me"), [held]), stage, "cut-me") == []
        records = [Record((1 << 32) + n, 0.0, "stdout", f"line {n} of the cut log".encode()) for n in (1, 2)]
        await repeated(lambda: broker.append(lease, records), stage, "the cut log")
        assert await broker.read("a") == records
        stage.eye.settled(lease, await broker.settle(lease, Completed(result="1")))
    stage.worker("w")
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_connections_that_are_reset_cut_and_half_closed_under_load(stage: Stage) -> None:
    for n in range(2):
        stage.worker(f"w{n}", unlucky=0.2)
    submitter = stage.submitter("s", 120, spread=2.0, longest=0.05, once_every=5)
    network = stage.place.proxy
    for n, weather in enumerate(
        [
            network.reset,
            lambda: network.half_close(Way.OUT),
            lambda: network.half_close(Way.IN),
            lambda: network.cut_after(Way.OUT, 700),
            lambda: network.cut_after(Way.IN, 2500),
            lambda: network.throttle(20_000),
        ]
    ):
        await stage.ended(10 * n)
        weather()
        await asyncio.sleep(0.3)
        network.fair()
    await stage.one_more()
    await asyncio.to_thread(submitter.wait, 30)
    await stage.verdict()


@with_server
async def test_a_slow_link_slows_nobody_else(stage: Stage) -> None:
    stage.place.proxy.throttle(3000)
    stage.worker("slow", slots=2)
    stage.worker("quick", url=stage.place.url(lease=LEASE))
    submitter = stage.submitter("s", 50, url=stage.place.url(lease=LEASE))
    await asyncio.to_thread(submitter.wait, 30)
    await stage.ended(45, SOON)
    stage.place.proxy.fair()
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_a_broken_connection_for_hints_is_made_again(stage: Stage) -> None:
    """Afterwards an idle worker is woken at once, as before: not only when it looks again by itself."""
    stage.worker("w")
    await stage.one_more()
    for broken in (stage.place.proxy.reset, lambda: stage.place.proxy.half_close(Way.OUT)):
        broken()
        await stage.one_more()
    async with asyncio.timeout(SOON):
        for _ in range(5):
            await stage.one_more()
    await stage.verdict()


# -- whatever the store -----------------------------------------------------------------------------------------------


@with_any
async def test_workers_paused_past_their_leases(stage: Stage) -> None:
    paused = [stage.worker(name, slots=1) for name in ("p0", "p1")]
    for n in range(2):
        await stage.submit(f"j{n}", seconds=0.4)
        await stage.running(f"j{n}")
    for worker in paused:
        os.kill(worker.pid, signal.SIGSTOP)
    stage.worker("other")
    for n in range(2):
        job = await stage.end_of(f"j{n}")
        assert (job.state, job.attempt) == (State.COMPLETED, 2)
    for worker in paused:
        os.kill(worker.pid, signal.SIGCONT)
    for name in ("p0", "p1"):
        await stage.saw(lambda event, name=name: event.by == name and event.what == "settle_refused")
    await stage.one_more()
    await stage.verdict()


@with_any
async def test_one_paused_past_its_lease_that_nobody_has_replaced_is_heard(stage: Stage) -> None:
    paused = stage.worker("p", slots=1)
    await stage.submit("a", seconds=0.4)
    begun = await stage.running("a")
    os.kill(paused.pid, signal.SIGSTOP)
    await asyncio.sleep(1.5 * LEASE)
    os.kill(paused.pid, signal.SIGCONT)
    job = await stage.end_of("a")
    assert (job.state, job.attempt, job.token) == (State.COMPLETED, 1, begun.token)
    await stage.one_more()
    await stage.verdict()


@with_any
async def test_workers_killed_under_load(stage: Stage) -> None:
    workers = [stage.worker(f"w{n}", unlucky=0.2) for n in range(2)]
    submitter = stage.submitter("s", 100, longest=0.05, once_every=5)
    for n, worker in enumerate(workers):
        await stage.ended(15 * (n + 1))
        worker.kill()
        stage.worker(f"w{n + 2}")
    submitter.kill()
    submitter = stage.submitter("s", 100, longest=0.05, once_every=5)
    await stage.one_more()
    await asyncio.to_thread(submitter.wait, 30)
    events = await stage.verdict()
    assert len({event.job for event in events if event.what == "submit_ok"}) == 101


@with_any
async def test_a_clock_that_is_set_forward_and_back(stage: Stage, server: Host) -> None:
    """By an hour, while a worker runs a job and another is hungry: the lease of the first does not lapse."""
    own = list if stage.place.has_server else server.clock.command  # a file goes by the clock of its host
    calm = 0.8 * LEASE  # less than the server's age, so that it is not calm for having just begun
    stage.worker("owner", slots=1, wrap=own, beat=0.5 * LEASE, calm=calm)
    await stage.submit("a", seconds=2.5, priority=9)
    begun = await stage.running("a")
    # what is submitted while the clock is ahead is due then: so all is submitted before
    submitter = stage.submitter("s", 150, longest=0.2, batch=50)
    await asyncio.to_thread(submitter.wait, 30)
    stage.worker("hungry", slots=4, wrap=own, calm=calm)
    await stage.ended(10)
    for hour in (3600, 0):
        server.clock.set(hour)
        await asyncio.sleep(3 * BEAT)
    job = await stage.end_of("a")
    assert (job.state, job.attempt, job.token) == (State.COMPLETED, 1, begun.token)
    await stage.one_more()
    await stage.verdict()


@with_server
async def test_workers_whose_clocks_are_wrong(stage: Stage, tmp_path: Path) -> None:
    """By five minutes, one each way: only the server's clock counts."""
    for name, seconds in (("fast", 300), ("slow", -300)):
        clock = Turned(tmp_path, name)
        clock.set(seconds)
        stage.worker(name, slots=1, wrap=clock.command)
        await stage.submit(name, seconds=1.5 * LEASE)
        await stage.running(name)
    await stage.one_more()
    for event in await stage.verdict():
        assert event.what != "settle_refused"
        assert event.attempt <= 1


@with_any
async def test_nobody_hears_a_bell(stage: Stage) -> None:
    for n in range(2):
        stage.worker(f"w{n}", deaf=True)
    submitter = stage.submitter("s", 60, deaf=True, longest=0.05)
    await asyncio.to_thread(submitter.wait, 30)
    await stage.ended(60)
    await stage.one_more()
    await stage.verdict()


@with_file
async def test_a_file_that_is_locked_for_long(stage: Stage) -> None:
    stage.worker("w")
    await stage.submit("a", seconds=0.3)
    begun = await stage.running("a")
    with locked(stage.place.file):
        await asyncio.sleep(3 * LEASE)
    job = await stage.end_of("a")
    assert (job.state, job.attempt, job.token) == (State.COMPLETED, 1, begun.token)
    await stage.one_more()
    await stage.verdict()


# -- the real thing ---------------------------------------------------------------------------------------------------


@with_any
async def test_a_real_worker_and_a_script_while_the_store_is_away(stage: Stage, tmp_path: Path, notes: Notes) -> None:
    with processes(tmp_path) as real:
        real.url = stage.place.far(lease=LEASE)
        async with System(tmp_path, stage.place.url(lease=LEASE)).open() as system:
            system.script("script.py", notes.source + "note('ran', 'once')\nwaits('end')\nprint(7)")
            real.worker()
            job = await system.submit("script")
            await notes.noted("end")
            await away(stage, lambda: notes.go("end"))
            ended = await answered(lambda: system.end(job))
            assert (ended.state, ended.result, ended.attempt) == (State.COMPLETED, "7", 1)
            assert notes.of("ran") == ["once"]
            async with asyncio.timeout(SOON):
                more = asyncio.ensure_future(system.run("script"))
                await notes.noted("end", 2)
                notes.go("end")
                assert (await more).state is State.COMPLETED


async def away(stage: Stage, meanwhile: Callable[[], None]) -> None:
    """The store cannot be had for a while: its server is dead, its file is locked."""
    if not stage.place.has_server:
        with locked(stage.place.file):
            meanwhile()
            await asyncio.sleep(1.5 * LEASE)
        return
    stage.place.server.kill()
    meanwhile()
    await asyncio.sleep(1.5 * LEASE)
    stage.place.server.start()


# -- words ------------------------------------------------------------------------------------------------------------


async def claimed(stage: Stage, broker: Broker) -> Lease:
    """A job `a`, submitted and claimed."""
    await stage.submit("a")
    (lease,) = await broker.claim("me", ["default"], 1, ROOM, 0)
    stage.eye.claimed(lease)
    return lease
