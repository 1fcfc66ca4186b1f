"""Bells: heard in every thread, loop and process that should; and never in anybody's way."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pumasi.broker.bell import Bell, SocketBell

#: seconds that a ring may take, and one that was not rung is waited for
SOON, SHORT = 5.0, 0.03


@contextlib.asynccontextmanager
async def bells(folder: Path, n: int = 2) -> AsyncIterator[list[SocketBell]]:
    """Bells on one folder, as several processes would have them."""
    opened = [SocketBell(str(folder)) for _ in range(n)]
    for bell in opened:
        await bell.open()
    try:
        yield opened
    finally:
        for bell in opened:
            await bell.close()


async def test_only_the_topics_listened_to_are_heard() -> None:
    bell = Bell()
    with bell.listen("a", "b") as heard, bell.listen("c") as other:
        bell.ring("b", "x")
        assert await heard.wait(SOON)
        assert not await other.wait(SHORT)
        assert not await heard.wait(SHORT)
        bell.ring("*")
        assert await heard.wait(SOON)
        assert await other.wait(SOON)
    bell.ring("a")
    assert not await heard.wait(SHORT)


async def test_a_ring_between_two_waits_counts() -> None:
    bell = Bell()
    with bell.listen("a") as heard:
        bell.ring("a")
        bell.ring("a")
        await asyncio.sleep(0)
        assert await heard.wait(0)
        assert not await heard.wait(SHORT)


async def test_a_ring_is_heard_on_every_loop_of_the_process() -> None:
    bell = Bell()
    listening = asyncio.Event()
    loop = asyncio.get_running_loop()

    def elsewhere() -> bool:
        async def listen() -> bool:
            with bell.listen("a") as heard:
                loop.call_soon_threadsafe(listening.set)
                return await heard.wait(SOON)

        return asyncio.run(listen())

    waiting = asyncio.ensure_future(asyncio.to_thread(elsewhere))
    await listening.wait()
    await asyncio.to_thread(bell.ring, "a")
    assert await waiting


async def test_other_processes_hear_it(tmp_path: Path) -> None:
    async with bells(tmp_path / "bell", 3) as (one, two, three):
        with one.listen("a") as first, two.listen("a") as second, three.listen("b") as third:
            one.ring("a")
            assert await first.wait(SOON)
            assert await second.wait(SOON)
            assert not await third.wait(SHORT)


async def test_a_ring_from_another_thread(tmp_path: Path) -> None:
    async with bells(tmp_path / "bell") as (one, two):
        with two.listen("a") as heard:
            await asyncio.to_thread(one.ring, "a")
            assert await heard.wait(SOON)


async def test_more_topics_than_a_datagram_holds(tmp_path: Path) -> None:
    async with bells(tmp_path / "bell") as (one, two):
        with two.listen("job:0500") as heard:
            one.ring(*(f"job:{n:04}" for n in range(2000)))
            assert await heard.wait(SOON)


async def test_a_listener_too_busy_to_hear_is_told_later(tmp_path: Path) -> None:
    """The kernel keeps only a few datagrams for one that does not look; none of the topics is lost all the same."""
    async with bells(tmp_path / "bell") as (one, two):
        with two.listen("last") as heard:
            loop = asyncio.get_running_loop()
            assert two._inbox is not None
            loop.remove_reader(two._inbox)
            for n in range(100):
                one.ring(f"job:{n}")
                one._send()
            one.ring("last")
            one._send()
            loop.add_reader(two._inbox, two._receive, two._inbox)
            assert await heard.wait(SOON)


async def test_a_folder_with_a_very_long_path(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*(["d" * 100] * 5))
    async with bells(folder) as (one, two):
        with two.listen("a") as heard:
            one.ring("a")
            assert await heard.wait(SOON)


async def test_closing_leaves_nothing(tmp_path: Path) -> None:
    fds = len(os.listdir("/proc/self/fd"))
    async with bells(tmp_path, 2) as (one, _):
        assert len(list(tmp_path.iterdir())) == 2
        await one.open()
    await one.close()
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == fds
    one.ring("a")  # nobody hears it, and nothing breaks


LISTENER = """
import asyncio, sys
from pumasi.broker.bell import SocketBell

async def main():
    bell = SocketBell(sys.argv[1])
    await bell.open()
    with bell.listen("a") as heard:
        print("ready", flush=True)
        while await heard.wait(60):
            print("heard", flush=True)

asyncio.run(main())
"""


async def test_the_sockets_of_the_dead_are_removed_and_strangers_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "1-zzzzzzzz").write_text("nearly a name of ours")
    dead = subprocess.Popen([sys.executable, "-c", LISTENER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert dead.stdout is not None
    async with bells(tmp_path) as (one, two):
        try:
            assert await asyncio.to_thread(dead.stdout.readline) == "ready\n"
            one.ring("a")
            assert await asyncio.to_thread(dead.stdout.readline) == "heard\n"
            assert len(list(tmp_path.iterdir())) == 5
            dead.send_signal(signal.SIGKILL)
            dead.wait()
        finally:
            dead.kill()
            dead.wait()
            dead.stdout.close()
        with two.listen("a") as heard:
            one.ring("a")
            assert await heard.wait(SOON)
        assert len(list(tmp_path.iterdir())) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-zzzzzzzz", "notes.txt"]


async def test_a_stopped_process_costs_the_others_nothing(tmp_path: Path) -> None:
    """It is tried again ever more seldom, and told everything once it goes on."""
    stopped = subprocess.Popen([sys.executable, "-c", LISTENER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert stopped.stdout is not None
    async with bells(tmp_path, 2) as (one, two):
        try:
            assert await asyncio.to_thread(stopped.stdout.readline) == "ready\n"
            stopped.send_signal(signal.SIGSTOP)
            with two.listen("b") as heard:
                for n in range(50):
                    one.ring(f"job:{n}")
                    one._send()
                assert one._deaf
                one.ring("b")
                assert await heard.wait(SOON)
            stopped.send_signal(signal.SIGCONT)
            async with asyncio.timeout(2 * SOON):
                assert await asyncio.to_thread(stopped.stdout.readline) == "heard\n"
        finally:
            stopped.kill()
            stopped.wait()
            stopped.stdout.close()


@pytest.mark.parametrize("message", [b"", b"nonsense", b"5", b"null", b'{"a":1}', b'["a",5,null]', b"\xff", b"[" * 999])
async def test_messages_of_strangers_are_no_trouble(tmp_path: Path, message: bytes) -> None:
    async with bells(tmp_path, 1) as (bell,):
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        (path,) = tmp_path.iterdir()
        here = os.open(tmp_path, os.O_RDONLY)
        with bell.listen("a", "b") as heard:
            stranger.sendto(message, f"/proc/self/fd/{here}/{path.name}")
            stranger.sendto(b'["b"]', f"/proc/self/fd/{here}/{path.name}")
            assert await heard.wait(SOON)
        os.close(here)
        stranger.close()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none"])
async def test_without_a_folder_it_reaches_this_process(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    async with bells(tmp_path / place) as (one, two):
        with one.listen("a") as first, two.listen("a") as second:
            one.ring("a")
            assert await first.wait(SOON)
            assert not await second.wait(SHORT)


async def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "bell"
    async with bells(folder) as (one, _):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        with one.listen("a") as heard:
            one.ring("a")
            assert await heard.wait(SOON)
            await asyncio.sleep(0)
