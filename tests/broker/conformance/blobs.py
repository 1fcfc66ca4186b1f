"""Blobs: bytes under a key, gone with what they belong to."""

import asyncio
import os

import pytest

from pumasi.broker.base import Broker
from pumasi.core.outcome import Completed
from pumasi.errors import ArtifactNotFound
from tests.broker.conformance.base import MIB, Case, Clock, Connect, ended, leased, needs, submitted


class Blobs(Case):
    @needs("blobs")
    @pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 9 * MIB + 5])
    async def test_what_is_put_is_got(self, broker: Broker, size: int) -> None:
        data = os.urandom(size)
        await broker.put_blob("artifact/a/1/page.png", data)
        assert await broker.get_blob("artifact/a/1/page.png") == data
        assert await broker.list_blobs("artifact/a/") == {"artifact/a/1/page.png": size}

    @needs("blobs")
    async def test_there_is_none(self, broker: Broker) -> None:
        assert await broker.get_blob("script/none") is None
        assert await broker.list_blobs("script/") == {}

    @needs("blobs")
    async def test_the_last_put_stands(self, broker: Broker) -> None:
        for data in (b"x" * 3 * MIB, b"second", b"", b"y" * 2 * MIB):
            await broker.put_blob("script/d", data)
            assert await broker.get_blob("script/d") == data
        assert await broker.list_blobs("") == {"script/d": 2 * MIB}

    @needs("blobs")
    async def test_listing_is_by_prefix_alone(self, broker: Broker) -> None:
        for key in ("artifact/a/x", "artifact/a/y", "artifact/ab/x", "artifact/a%/x", "result/a/1", "artifact/a/품"):
            await broker.put_blob(key, key.encode())
        listed = await broker.list_blobs("artifact/a/")
        assert list(listed) == ["artifact/a/x", "artifact/a/y", "artifact/a/품"]
        assert listed["artifact/a/품"] == len("artifact/a/품".encode())
        assert len(await broker.list_blobs("")) == 6

    @needs("blobs")
    async def test_readers_see_one_version_whole(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        versions = [bytes([n]) * (2 * MIB + n) for n in range(1, 5)]
        await here.put_blob("result/a/1", versions[0])

        async def write() -> None:
            for version in versions[1:]:
                await here.put_blob("result/a/1", version)

        writing = asyncio.create_task(write())
        while not writing.done():
            await asyncio.sleep(0)
            assert await there.get_blob("result/a/1") in versions
        await writing
        assert await there.get_blob("result/a/1") == versions[-1]

    @needs("blobs")
    async def test_a_large_result_is_read_from_its_blob(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        text = '"' + "품" * MIB + '"'
        await broker.put_blob("result/a/1", text.encode())
        job = await broker.settle(lease, Completed(result_blob="result/a/1", result_size=len(text.encode())))
        assert (job.result, job.result_blob) == (None, "result/a/1")
        assert await broker.result(job) == text

    @needs("blobs")
    async def test_artifacts_are_those_of_the_last_attempt(self, broker: Broker) -> None:
        job = await ended(broker, "a")
        await broker.put_blob(job.artifact_key("page.png"), b"png")
        await broker.put_blob("artifact/a/7/other.png", b"another attempt's")
        assert await broker.artifacts(job) == {"page.png": 3}
        assert await broker.artifact(job, "page.png") == b"png"
        with pytest.raises(ArtifactNotFound):
            await broker.artifact(job, "other.png")

    @needs("blobs")
    async def test_a_jobs_blobs_go_with_its_record(self, broker: Broker, clock: Clock) -> None:
        await ended(broker, "a")
        for key in ("result/a/1", "artifact/a/1/x", "result/ab/1"):
            await broker.put_blob(key, b"x" * 3 * MIB if key == "result/a/1" else b"x")
        await leased(broker, "ab")
        clock.advance(24 * 3600 + 1)
        await broker.sweep()
        assert await broker.list_blobs("") == {"result/ab/1": 1}
        assert await broker.get_blob("result/a/1") is None

    @needs("blobs")
    async def test_a_scripts_blob_goes_when_no_job_refers_to_it(self, broker: Broker, clock: Clock) -> None:
        await broker.put_blob("script/used", b"1")
        await broker.put_blob("script/unused", b"2")
        await submitted(broker, "a", digest="used", run_at=clock.now + 90 * 3600)
        clock.advance(23 * 3600)
        await broker.put_blob("script/fresh", b"3")
        await broker.sweep()
        assert set(await broker.list_blobs("script/")) == {"script/used", "script/unused", "script/fresh"}
        clock.advance(2 * 3600)
        await broker.sweep()
        assert set(await broker.list_blobs("script/")) == {"script/used", "script/fresh"}
        await broker.cancel("a")
        clock.advance(25 * 3600)
        await broker.sweep()
        assert await broker.list_blobs("") == {}

    @needs("blobs")
    async def test_a_script_is_kept_a_while_however_short_the_retention(self, connect: Connect, clock: Clock) -> None:
        broker = await connect(retention=1)
        await broker.put_blob("script/d", b"1")
        clock.advance(3600)
        await broker.sweep()
        assert await broker.get_blob("script/d") == b"1"
