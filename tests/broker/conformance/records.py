"""Logs of runs: one stream a job, in order, bounded."""

import asyncio

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Lease, Progress, Record
from pumasi.core.logbook import HEAD_BYTES, SLACK_BYTES, TAIL_BYTES
from pumasi.core.outcome import Completed, Released
from pumasi.errors import Invalid, JobNotFound, LeaseLost
from tests.broker.conformance.base import START, Case, Clock, Connect, claims, leased, needs


def a_record(number: int, data: bytes = b"line\n", stream: str = "stdout", attempt: int = 1) -> Record:
    """A piece of a log."""
    return Record(attempt << 32 | number, START + number, stream, data)


class Records(Case):
    @needs("log")
    async def test_what_was_appended_is_read_in_order(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        assert await broker.read("a") == []
        records = [a_record(2, b"\x00\xff\xed\xa0\x80"), a_record(1, stream="stderr"), a_record(3, b"")]
        await broker.append(lease, records)
        await broker.append(lease, [a_record(5), a_record(4, "품앗이".encode())])
        await broker.append(lease, [])
        read = await broker.read("a")
        assert [record.seq & 0xFF for record in read] == [1, 2, 3, 4, 5]
        assert read[1] == records[0]
        assert read[0].attempt == 1

    @needs("log")
    async def test_reading_goes_on_after_a_seq(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.append(lease, [a_record(n) for n in range(1, 10)])
        first = await broker.read("a", limit=4)
        rest = await broker.read("a", after=first[-1].seq)
        assert [record.seq & 0xFF for record in first + rest] == list(range(1, 10))
        assert await broker.read("a", after=rest[-1].seq) == []
        assert await broker.read("a", after=10**30) == []
        assert len(await broker.read("a", after=-5, limit=10**30)) == 9

    @needs("log")
    async def test_a_seq_that_is_there_is_ignored(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.append(lease, [a_record(1, b"first"), a_record(2, b"second")])
        await broker.append(lease, [a_record(2, b"again"), a_record(3, b"third"), a_record(3, b"again")])
        assert [record.data for record in await broker.read("a")] == [b"first", b"second", b"third"]

    @needs("log")
    @pytest.mark.parametrize("seq", [0, -1, 2**63, 10**30])
    async def test_a_seq_no_store_can_keep(self, broker: Broker, seq: int) -> None:
        lease = await leased(broker, "a")
        with pytest.raises(Invalid):
            await broker.append(lease, [a_record(1), Record(seq, START, "stdout", b"")])
        assert await broker.read("a") == []

    @needs("log")
    async def test_attempts_follow_one_another_in_one_log(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.append(lease, [a_record(7, b"one")])
        await broker.settle(lease, Released())
        (again,) = await claims(broker)
        await broker.append(again, [a_record(1, b"two", attempt=2)])
        assert [(record.attempt, record.data) for record in await broker.read("a")] == [(1, b"one"), (2, b"two")]

    @needs("log")
    async def test_an_unknown_job(self, broker: Broker) -> None:
        with pytest.raises(JobNotFound):
            await broker.read("nobody")
        with pytest.raises(JobNotFound):
            await anext(broker.follow("nobody"))

    @needs("log")
    async def test_only_the_holder_of_the_lease_writes(self, broker: Broker, clock: Clock) -> None:
        lease = await leased(broker, "a")
        with pytest.raises(LeaseLost):
            await broker.append(Lease(job=lease.job, token="forged", expires_in=1), [a_record(1)])
        clock.advance(30)
        (second,) = await claims(broker, worker="w2")
        with pytest.raises(LeaseLost):
            await broker.append(lease, [a_record(1)])
        await broker.append(second, [a_record(2)])
        await broker.settle(second, Completed(result="1"))
        with pytest.raises(LeaseLost):
            await broker.append(second, [a_record(3)])
        assert [record.seq & 0xFF for record in await broker.read("a")] == [2]

    # -- progress -------------------------------------------------------------------------------------------------

    @needs("log")
    async def test_the_last_progress_is_the_jobs(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        before = await broker.get("a")
        await broker.append(lease, [a_record(1, b"line")])
        assert (await broker.get("a")).progress is None
        await broker.append(
            lease, [a_record(2, b'[1,10,""]', "progress"), a_record(3, b'[2,null,"p"]', "progress"), a_record(4)]
        )
        job = await broker.get("a")
        assert job.progress == Progress(2, None, "p")
        assert job.revision == before.revision  # it stands in no settle's way
        assert job.change > before.change

    @needs("log")
    async def test_a_new_attempt_has_no_progress_yet(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.append(lease, [a_record(1, b'[1,10,""]', "progress")])
        await broker.settle(lease, Released())
        (again,) = await claims(broker)
        assert again.job.progress is None
        assert (await broker.get("a")).progress is None

    @needs("log")
    @pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'["x",2,""]', b"\xff", b"[NaN,1,null]"])
    async def test_a_progress_that_tells_nothing_is_refused(self, broker: Broker, data: bytes) -> None:
        lease = await leased(broker, "a")
        with pytest.raises(Invalid):
            await broker.append(lease, [a_record(1), a_record(2, data, "progress")])
        assert await broker.read("a") == []

    # -- bounds ---------------------------------------------------------------------------------------------------

    @needs("log")
    async def test_first_and_last_are_kept_and_the_rest_goes(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        size, n = 16 * 1024, 0
        for _ in range(12):
            await broker.append(lease, [a_record(n := n + 1, bytes([n % 256]) * size) for _ in range(16)])
            kept = sum(len(record.data) for record in await broker.read("a"))
            assert kept <= HEAD_BYTES + TAIL_BYTES + SLACK_BYTES + size
        numbers = [record.seq & 0xFFFF for record in await broker.read("a")]
        assert numbers[:12] == list(range(1, 13))
        assert numbers[-12:] == list(range(n - 11, n + 1))
        assert len(numbers) < n
        assert await broker.read("a", after=a_record(n).seq) == []

    @needs("log")
    async def test_a_flood_of_empty_records_is_bounded_too(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        for start in range(0, 50_000, 10_000):
            await broker.append(lease, [a_record(start + n + 1, b"") for n in range(10_000)])
        seqs, after = 0, 0
        while records := await broker.read("a", after, limit=10_000):
            seqs, after = seqs + len(records), records[-1].seq
        assert seqs < 50_000

    @needs("log")
    async def test_one_record_larger_than_all_that_is_kept(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.append(lease, [a_record(1, b"first"), a_record(2, b"x" * 4 * (HEAD_BYTES + TAIL_BYTES))])
        await broker.append(lease, [a_record(3, b"last")])
        read = await broker.read("a")
        assert [record.data for record in read if len(record.data) < 9] == [b"first", b"last"]
        assert sum(len(record.data) for record in read) <= HEAD_BYTES + TAIL_BYTES + SLACK_BYTES

    # -- following ------------------------------------------------------------------------------------------------

    @needs("log")
    async def test_following_gives_all_and_ends_with_the_job(self, connect: Connect) -> None:
        here, there = await connect(), await connect()
        lease = await leased(here, "a")
        await here.append(lease, [a_record(1)])
        seen: list[int] = []
        arrived = asyncio.Event()

        async def follow() -> None:
            async for record in there.follow("a"):
                seen.append(record.seq & 0xFF)
                arrived.set()

        async with asyncio.timeout(5):
            following = asyncio.create_task(follow())
            for number in (2, 3):
                await arrived.wait()
                arrived.clear()
                await here.append(lease, [a_record(number)])
            await here.settle(lease, Completed(result="1"))
            await following
        assert seen == [1, 2, 3]

    @needs("log")
    async def test_following_an_ended_job(self, broker: Broker) -> None:
        lease = await leased(broker, "a")
        await broker.append(lease, [a_record(n) for n in range(1, 4)])
        await broker.settle(lease, Completed(result="1"))
        assert [record.seq & 0xFF async for record in broker.follow("a", after=a_record(1).seq)] == [2, 3]
