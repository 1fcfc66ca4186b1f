"""Taskiq's task: nothing at all, by a stream whose messages are acknowledged, with its result kept."""

import os

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["BENCH_REDIS"]
broker = RedisStreamBroker(URL, queue_name="bench").with_result_backend(RedisAsyncResultBackend(URL))
elsewhere = RedisStreamBroker(URL, queue_name="unserved")


@broker.task
async def noop():
    return {}


@elsewhere.task
async def unserved():
    return {}
