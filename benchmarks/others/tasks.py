"""The task of RQ and Celery: a script by `subprocess`, its standard output as JSON, as it is done there."""

import json
import os
import subprocess

from celery import Celery

app = Celery("tasks", broker=os.environ.get("BENCH_REDIS"), backend=os.environ.get("BENCH_REDIS"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    # As Pumasi's: a job of a worker that dies is run again, and no worker hoards jobs.
    task_acks_late=True,
    worker_prefetch_multiplier=1,
)


def run_script(path):
    done = subprocess.run([os.environ["BENCH_PYTHON"], path], check=True, capture_output=True, timeout=300)
    return json.loads(done.stdout)


@app.task(name="tasks.celery_run")
def celery_run(path):
    return run_script(path)
