"""The bell of PostgreSQL when its connection is ended under it."""

import asyncio

import psycopg

from pumasi.broker import connect
from pumasi.broker.verbs import StoreBroker
from tests.servers.postgres import postgres_url

__all__ = ["postgres_url"]

END_LISTENERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"


async def test_a_connection_that_was_ended_is_made_again(postgres_url: str) -> None:
    broker = connect(postgres_url)
    assert isinstance(broker, StoreBroker)
    async with asyncio.timeout(10), broker:
        with broker.bell.listen("anything") as heard:
            await hears(broker)
            end_listeners(postgres_url)
            assert await heard.wait(5)  # what was missed is looked for
            assert broker.bell.alive


async def test_it_closes_right_after_its_connection_was_ended(postgres_url: str) -> None:
    broker = connect(postgres_url)
    assert isinstance(broker, StoreBroker)
    async with asyncio.timeout(10), broker:
        with broker.bell.listen("anything"):
            await hears(broker)
            end_listeners(postgres_url)
            while broker.bell.alive:
                await asyncio.sleep(0.01)


async def hears(broker: StoreBroker) -> None:
    while not broker.bell.alive:
        await asyncio.sleep(0.01)


def end_listeners(url: str) -> None:
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        connection.execute(END_LISTENERS)
