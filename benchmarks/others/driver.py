"""The caller of RQ or Celery, in their own environment: a line of JSON in, a line of JSON out.

python driver.py rq redis://127.0.0.1:1234/0
{"do": "run", "path": "/…/noop.py", "count": 100}   →   {"seconds": 3.2}
"""

import json
import sys
import time

import redis
import tasks


class Rq:
    """RQ: jobs in batches, results by a blocking read of their stream."""

    def __init__(self, url):
        from rq import Queue

        connection = redis.Redis.from_url(url)
        self._queue, self._unserved = Queue("bench", connection=connection), Queue("unserved", connection=connection)

    def run(self, path, count):
        data = [self._queue.prepare_data(tasks.run_script, args=(path,), result_ttl=600) for _ in range(count)]
        for job in self._queue.enqueue_many(data):
            self._result(job)

    def call(self, path):
        self._result(self._queue.enqueue(tasks.run_script, path))

    def submit(self, path, count, batch):
        if batch:
            self._unserved.enqueue_many(
                [self._unserved.prepare_data(tasks.run_script, args=(path,)) for _ in range(count)]
            )
            return True
        for _ in range(count):
            self._unserved.enqueue(tasks.run_script, path)
        return True

    def _result(self, job):
        result = job.latest_result(timeout=300)
        if result is None or result.type.name != "SUCCESSFUL":
            raise RuntimeError(f"{job.id}: {result and result.exc_string}")


class Celery:
    """Celery: jobs one by one (it knows no other way), results as they are published."""

    def __init__(self, url):
        pass

    def run(self, path, count):
        for result in [tasks.celery_run.apply_async((path,), queue="bench") for _ in range(count)]:
            result.get(timeout=300)

    def call(self, path):
        tasks.celery_run.apply_async((path,), queue="bench").get(timeout=300)

    def submit(self, path, count, batch):
        if batch:
            return False
        for _ in range(count):
            tasks.celery_run.apply_async((path,), queue="unserved", ignore_result=True)
        return True


def main():
    system = {"rq": Rq, "celery": Celery}[sys.argv[1]](sys.argv[2])
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
