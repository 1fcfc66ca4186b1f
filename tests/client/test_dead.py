"""Dead letters, by both ways to a broker."""

from pathlib import Path

import pytest

from pumasi.broker import Broker
from pumasi.client import AsyncClient
from pumasi.core.job import Job, State
from pumasi.errors import BadFields, Conflict
from tests.gateway.fakes import worker

MANIFEST = """\
# /// script
# [tool.pumasi]
# key = "shop-{params.shop}"
# concurrency = 2
# share = "{params.shop}"
# parameters = {type = "object", required = ["shop"], properties = {shop = {type = "string"}}}
# ///
"""


async def failed(client: AsyncClient, broker: Broker, **options: object) -> Job:
    job = await client.submit("catalogue", {"fail": "closed"}, **options)
    async with worker(broker):
        return await client.wait(job.id, 30)


async def test_a_failed_job_is_a_dead_letter_until_it_is_requeued(client: AsyncClient, broker: Broker) -> None:
    job = await failed(client, broker)
    assert [dead.id for dead in (await client.find(dead=True)).jobs] == [job.id]
    again = await client.requeue(job.id[:-1])
    assert (again.parent, again.parameters, again.state) == (job.id, job.parameters, State.PENDING)
    assert (await client.find(dead=True)).jobs == ()
    after = await client.get(job.id)
    assert (after.state, after.resolved) == (State.FAILED, "requeued")
    assert (await client.requeue(job.id)).id == again.id


async def test_requeued_with_other_parameters(client: AsyncClient, broker: Broker) -> None:
    job = await failed(client, broker)
    again = await client.requeue(job.id, {"page": 4})
    assert again.parameters == '{"page":4}'
    async with worker(broker):
        assert (await client.wait(again.id, 30)).state is State.COMPLETED
    with pytest.raises(Conflict, match=f"requeued already, with other parameters: .* {again.id}"):
        await client.requeue(job.id, {"page": 5})
    assert (await client.requeue(job.id, {"page": 4})).id == again.id


async def test_edited_parameters_are_held_to_the_schema_and_fill_keys_in_anew(
    client: AsyncClient, broker: Broker, scripts: Path
) -> None:
    (scripts / "shop.py").write_text(MANIFEST + "def main(shop):\n    return shop\n")
    job = await client.submit("shop", {"shop": "a"})
    assert (job.limit and job.limit.key, job.share) == ("shop-a", "a")
    await client.cancel(job.id)
    with pytest.raises(BadFields, match="shop"):
        await client.retry(job.id, {"shop": 1})
    again = await client.retry(job.id, {"shop": "b"})
    assert (again.limit and again.limit.key, again.share) == ("shop-b", "b")


async def test_a_retry_by_hand_looks_after_it_too(client: AsyncClient, broker: Broker) -> None:
    job = await failed(client, broker)
    await client.retry(job.id)
    assert (await client.get(job.id)).resolved == "requeued"
    assert (await client.find(dead=True)).jobs == ()
    with pytest.raises(Conflict, match="no dead letter"):
        await client.requeue(job.id)
    assert len((await client.find(parent=job.id)).jobs) == 1


async def test_discarded(client: AsyncClient, broker: Broker) -> None:
    job = await failed(client, broker)
    for _ in range(2):
        assert (await client.discard(job.id)).resolved == "discarded"
    assert (await client.find(dead=True)).jobs == ()
    with pytest.raises(Conflict, match="no dead letter"):
        await client.requeue(job.id)
    assert (await client.retry(job.id)).parent == job.id


async def test_what_is_none_is_said_so(client: AsyncClient) -> None:
    job = await client.submit("catalogue")
    for verb in (client.requeue, client.discard):
        with pytest.raises(Conflict, match="it is pending"):
            await verb(job.id)


async def test_how_a_queue_orders_its_jobs(client: AsyncClient) -> None:
    queue = await client.set_queue("shops", ageing=60, fair=True)
    assert (queue.ageing, queue.fair, queue.paused) == (60, True, False)
    queue = await client.set_queue("shops", ageing=None)
    assert (queue.ageing, queue.fair) == (None, True)
    job = await client.submit("catalogue", {"shop": "x"}, queue="shops", share="{params.shop}")
    assert job.share == "x"
    with pytest.raises(BadFields, match="share"):
        await client.submit("catalogue", {}, share="{params.shop}")
