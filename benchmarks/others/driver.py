"""The caller of another system, in their own environment: a line of JSON in, a line of JSON out.

python driver.py rq redis://127.0.0.1:1234/0
{"do": "run", "path": "/…/noop.py", "count": 100}   →   {"seconds": 3.2}

Without a path the job is a function that does nothing.
"""

import json
import sys
import time


class Rq:
    """RQ: jobs in batches, results by a blocking read of their stream."""

    def __init__(self, url):
        import redis
        import tasks
        from rq import Queue

        connection = redis.Redis.from_url(url)
        self._tasks = tasks
        self._queue, self._unserved = Queue("bench", connection=connection), Queue("unserved", connection=connection)

    def run(self, count, path=None):
        task, args = self._task(path)
        data = [self._queue.prepare_data(task, args=args, result_ttl=600) for _ in range(count)]
        for job in self._queue.enqueue_many(data):
            self._result(job)

    def call(self, path=None):
        task, args = self._task(path)
        self._result(self._queue.enqueue(task, *args))

    def submit(self, count, batch, path=None):
        task, args = self._task(path)
        if batch:
            self._unserved.enqueue_many([self._unserved.prepare_data(task, args=args) for _ in range(count)])
            return True
        for _ in range(count):
            self._unserved.enqueue(task, *args)
        return True

    def _task(self, path):
        return (self._tasks.noop, ()) if path is None else (self._tasks.run_script, (path,))

    def _result(self, job):
        result = job.latest_result(timeout=300)
        if result is None or result.type.name != "SUCCESSFUL":
            raise RuntimeError(f"{job.id}: {result and result.exc_string}")


class Celery:
    """Celery: jobs one by one (it knows no other way), results as they are published."""

    def __init__(self, url):
        import tasks

        self._tasks = tasks

    def run(self, count, path=None):
        task, args = self._task(path)
        for result in [task.apply_async(args, queue="bench") for _ in range(count)]:
            result.get(timeout=300)

    def call(self, path=None):
        task, args = self._task(path)
        task.apply_async(args, queue="bench").get(timeout=300)

    def submit(self, count, batch, path=None):
        if batch:
            return False
        task, args = self._task(path)
        for _ in range(count):
            task.apply_async(args, queue="unserved", ignore_result=True)
        return True

    def _task(self, path):
        return (self._tasks.celery_noop, ()) if path is None else (self._tasks.celery_run, (path,))


class Dramatiq:
    """Dramatiq: jobs one by one, results by a blocking read of their list."""

    def __init__(self, url):
        import dramatiq_tasks

        self._tasks = dramatiq_tasks

    def run(self, count):
        for message in [self._tasks.noop.send() for _ in range(count)]:
            message.get_result(block=True, timeout=300_000)

    def call(self):
        self._tasks.noop.send().get_result(block=True, timeout=300_000)

    def submit(self, count, batch):
        if batch:
            return False
        for _ in range(count):
            self._tasks.unserved.send()
        return True


class Taskiq:
    """Taskiq: jobs one by one, results by asking for them; as often as does it good."""

    def __init__(self, url):
        import asyncio

        import taskiq_tasks

        self._tasks = taskiq_tasks
        self._do = asyncio.new_event_loop().run_until_complete
        self._do(taskiq_tasks.broker.startup())
        self._do(taskiq_tasks.elsewhere.startup())

    def run(self, count):
        self._do(self._run(count))

    def call(self):
        self._do(self._run(1))

    def submit(self, count, batch):
        if batch:
            return False
        self._do(self._submit(count))
        return True

    async def _run(self, count):
        for task in [await self._tasks.noop.kiq() for _ in range(count)]:
            result = await task.wait_result(check_interval=0.001, timeout=300)
            result.raise_for_error()

    async def _submit(self, count):
        for _ in range(count):
            await self._tasks.unserved.kiq()


SYSTEMS = {"rq": Rq, "celery": Celery, "celery late": Celery, "dramatiq": Dramatiq, "taskiq": Taskiq}


def main():
    system = SYSTEMS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        order = json.loads(line)
        began = time.perf_counter()
        try:
            done = getattr(system, order.pop("do"))(**order)
            answer = {"seconds": None if done is False else time.perf_counter() - began}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
