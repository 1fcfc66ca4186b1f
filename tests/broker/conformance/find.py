"""Finding jobs: by what they are, newest first, page by page."""

import pytest

from pumasi.broker.base import Broker
from pumasi.core.job import Cause, Page, Query, State
from pumasi.core.outcome import Completed, Failed
from pumasi.errors import Invalid
from tests.broker.conformance.base import START, Case, Clock, a_job, claims, needs, submitted


def ids(page: Page) -> list[str]:
    """Which jobs a page holds, in order."""
    return [job.id for job in page.jobs]


async def some_of_all(broker: Broker, clock: Clock) -> None:
    """Ten jobs, one a second, in all states: 9 … 5 pending, 4 running, 3 and 2 completed, 1 failed, 0 cancelled."""
    for n in range(10):
        queue = "even" if n % 2 == 0 else "odd"
        await submitted(
            broker, f"job-{n}", queue=queue, script=f"s{n % 3}", labels={"n": str(n), "parity": queue},
            parent="job-0" if n in (1, 7) else None, run_at=START + n / 100,
        )  # fmt: skip
        clock.advance(1)
    outcomes = [Failed(cause=Cause.EXIT, error="exit code 1"), Completed(result="1"), Completed(result="2")]
    await broker.cancel("job-0")
    for outcome in outcomes:
        (lease,) = await claims(broker, queues=["even", "odd"])
        await broker.settle(lease, outcome)
    await claims(broker, queues=["even", "odd"])


ALL = [f"job-{n}" for n in range(9, -1, -1)]
TOTALS = {"pending": 5, "running": 1, "completed": 2, "failed": 1, "cancelled": 1}

MEANT: list[tuple[Query, list[int]]] = [
    (Query(), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    (Query(states=(State.PENDING,)), [9, 8, 7, 6, 5]),
    (Query(states=(State.CANCELLED, State.RUNNING)), [4, 0]),
    (Query(queue="odd"), [9, 7, 5, 3, 1]),
    (Query(queue="nowhere"), []),
    (Query(script="s0"), [9, 6, 3, 0]),
    (Query(script="s0", queue="odd"), [9, 3]),
    (Query(script="s0", states=(State.COMPLETED,)), [3]),
    (Query(labels={"n": "3"}), [3]),
    (Query(labels={"parity": "odd", "n": "3"}), [3]),
    (Query(labels={"parity": "even", "n": "3"}), []),
    (Query(labels={"parity": "odd"}, script="s1"), [7, 1]),
    (Query(labels={'"; DROP TABLE job; --': "x"}), []),
    (Query(parent="job-0"), [7, 1]),
    (Query(since=START + 8), [9, 8]),
    (Query(since=START + 8.5), [9]),
    (Query(prefix="job-"), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    (Query(prefix="job-7"), [7]),
    (Query(prefix="job-7x"), []),
    (Query(prefix="JOB"), []),
    (Query(prefix="%"), []),
    (Query(prefix="_ob"), []),
    (Query(ids=("job-2", "job-8", "nobody")), [8, 2]),
    (Query(ids=()), []),
    (Query(ids=("job-2", "job-3"), queue="odd"), [3]),
]


class Find(Case):
    @needs("find")
    @pytest.mark.parametrize(("query", "meant"), MEANT, ids=lambda value: str(value)[:0])
    async def test_what_a_query_means(self, broker: Broker, clock: Clock, query: Query, meant: list[int]) -> None:
        await some_of_all(broker, clock)
        page = await broker.find(query)
        assert ids(page) == [f"job-{n}" for n in meant]
        assert page.cursor is None
        assert all([await broker.get(job.id) == job for job in page.jobs])

    @needs("find")
    async def test_totals_count_all_matches_whatever_the_page(self, broker: Broker, clock: Clock) -> None:
        await some_of_all(broker, clock)
        assert (await broker.find(Query())).totals == TOTALS
        assert (await broker.find(Query(states=(State.FAILED,), limit=1))).totals == TOTALS
        assert (await broker.find(Query(queue="even"))).totals == {
            "pending": 2, "running": 1, "completed": 1, "cancelled": 1,
        }  # fmt: skip
        assert (await broker.find(Query(script="s1", queue="odd"))).totals == {"pending": 1, "failed": 1}
        assert (await broker.find(Query(labels={"parity": "odd"}))).totals == {
            "pending": 3,
            "completed": 1,
            "failed": 1,
        }
        assert (await broker.find(Query(since=START + 4))).totals == {"pending": 5, "running": 1}
        assert (await broker.find(Query(queue="nowhere"))).totals == {}
        first = await broker.find(Query(limit=3))
        assert (await broker.find(Query(limit=3, cursor=first.cursor))).totals == TOTALS

    @needs("find")
    async def test_totals_follow_every_change(self, broker: Broker, clock: Clock) -> None:
        await some_of_all(broker, clock)
        clock.advance(25 * 3600)
        await broker.sweep()
        assert (await broker.find(Query())).totals == {"pending": 5, "running": 1}

    @needs("find")
    @pytest.mark.parametrize("limit", [1, 2, 3, 9, 10, 11])
    async def test_pages_hold_everything_once(self, broker: Broker, clock: Clock, limit: int) -> None:
        await some_of_all(broker, clock)
        found, cursor = [], None
        while True:
            page = await broker.find(Query(limit=limit, cursor=cursor))
            assert len(page.jobs) <= limit
            found += ids(page)
            cursor = page.cursor
            if cursor is None:
                break
        assert found == ALL

    @needs("find")
    async def test_a_cursor_keeps_its_place_while_jobs_come(self, broker: Broker, clock: Clock) -> None:
        await some_of_all(broker, clock)
        query = Query(queue="even", limit=2)
        found = ids(page := await broker.find(query))
        while page.cursor:
            await submitted(broker, queue="even")
            clock.advance(1)
            page = await broker.find(Query(queue="even", limit=2, cursor=page.cursor))
            found += ids(page)
        assert found == ["job-8", "job-6", "job-4", "job-2", "job-0"]

    @needs("find")
    async def test_jobs_of_one_moment_are_told_apart_by_id(self, broker: Broker) -> None:
        await broker.submit([a_job(id) for id in ("c", "a", "d", "b", "e")])
        found, cursor = [], None
        while True:
            page = await broker.find(Query(limit=2, cursor=cursor))
            found += ids(page)
            if (cursor := page.cursor) is None:
                break
        assert found == ["e", "d", "c", "b", "a"]

    @needs("find")
    @pytest.mark.parametrize("cursor", ["x", "00", "zz", "5b5d", "5b312c325d", "ff" * 9, "품"])
    async def test_a_cursor_that_is_none_of_ours(self, broker: Broker, cursor: str) -> None:
        with pytest.raises(Invalid):
            await broker.find(Query(cursor=cursor))

    @needs("find")
    async def test_the_size_of_a_page_has_bounds(self, broker: Broker) -> None:
        await broker.submit([a_job() for _ in range(3)])
        for limit in (0, -1):
            with pytest.raises(Invalid):
                await broker.find(Query(limit=limit))
        assert len((await broker.find(Query(limit=10**30))).jobs) == 3

    @needs("find")
    async def test_in_order_of_change(self, broker: Broker, clock: Clock) -> None:
        await some_of_all(broker, clock)
        start = await broker.position()
        await broker.cancel("job-9")
        await broker.cancel("job-5")
        await submitted(broker, "new", queue="odd")
        page = await broker.find(Query(changed_after=start))
        assert ids(page) == ["job-9", "job-5", "new"]
        assert ids(await broker.find(Query(changed_after=start, limit=2))) == ["job-9", "job-5"]
        assert ids(await broker.find(Query(changed_after=page.jobs[1].change))) == ["new"]
        assert ids(await broker.find(Query(changed_after=start, states=(State.PENDING,)))) == ["new"]
        assert ids(await broker.find(Query(changed_after=start, ids=("job-5",)))) == ["job-5"]
        assert ids(await broker.find(Query(changed_after=start, queue="odd", limit=1))) == ["job-9"]
        assert ids(await broker.find(Query(changed_after=await broker.position()))) == []
        assert len((await broker.find(Query(changed_after=0))).jobs) == 11

    @needs("find")
    async def test_a_long_prefix_finds_as_a_short_one_does(self, broker: Broker, clock: Clock) -> None:
        await broker.submit([a_job(f"0193-abcd-{n}", queue="a" if n % 2 else "b") for n in range(5)])
        await broker.submit([a_job("0193-abc"), a_job("0193-abcd"), a_job("0193-abce-1"), a_job("힣" * 9)])
        page = await broker.find(Query(prefix="0193-abcd-"))
        assert ids(page) == [f"0193-abcd-{n}" for n in range(4, -1, -1)]
        assert page.totals == {"pending": 5}
        assert ids(await broker.find(Query(prefix="0193-abcd-", queue="a"))) == ["0193-abcd-3", "0193-abcd-1"]
        assert ids(await broker.find(Query(prefix="0193-abcd-", since=START + 1))) == []
        assert ids(await broker.find(Query(prefix="0193-abcd-", states=(State.RUNNING,)))) == []
        first = await broker.find(Query(prefix="0193-abcd-", limit=2))
        rest = await broker.find(Query(prefix="0193-abcd-", limit=9, cursor=first.cursor))
        assert ids(first) + ids(rest) == ids(page)
        assert ids(await broker.find(Query(prefix="0193-abcd-", changed_after=0, limit=1))) == ["0193-abcd-0"]
        assert len((await broker.find(Query(prefix="힣" * 9))).jobs) == 1

    @needs("find")
    async def test_odd_names_are_only_names(self, broker: Broker) -> None:
        odd = "a\"b'c%_.$[0]\\ 품"
        job = await submitted(broker, script=odd, queue=odd, labels={odd: odd, "": ""})
        for query in (Query(script=odd), Query(queue=odd), Query(labels={odd: odd}), Query(labels={"": ""})):
            assert ids(await broker.find(query)) == [job.id]
        assert ids(await broker.find(Query(labels={odd: ""}))) == []

    @needs("find")
    async def test_stats_count_by_state_script_and_cause(self, broker: Broker, clock: Clock) -> None:
        await some_of_all(broker, clock)
        stats = await broker.stats()
        assert ("failed", "s1", "exit", 1) in stats.jobs
        assert ("cancelled", "s0", "cancelled", 1) in stats.jobs
        assert sum(n for *_, n in stats.jobs) == 10
        assert [queue.name for queue in stats.queues] == ["even", "odd"]
        assert stats.workers == ()
