"""The tasks of RQ and Celery: a script by `subprocess`, its standard output as JSON, as it is done there; and nothing
at all."""

import json
import os
import subprocess

from celery import Celery

app = Celery("tasks", broker=os.environ.get("BENCH_REDIS"), backend=os.environ.get("BENCH_REDIS"))
app.conf.broker_connection_retry_on_startup = True
if os.environ.get("BENCH_SAFE"):
    # As Pumasi's: a job of a worker that dies is run again, and no worker hoards jobs.
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)


def run_script(path):
    done = subprocess.run([os.environ["BENCH_PYTHON"], path], check=True, capture_output=True, timeout=300)
    return json.loads(done.stdout)


def noop():
    return {}


celery_run = app.task(name="tasks.celery_run")(run_script)
celery_noop = app.task(name="tasks.celery_noop")(noop)
