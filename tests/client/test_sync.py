import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pumasi import AsyncClient, Client
from pumasi.core.job import State
from pumasi.errors import JobFailed, JobNotFound, WaitTimeout
from tests.client.background import Background
from tests.gateway.conftest import TOKEN


@pytest.fixture
def background(tmp_path: Path, scripts: Path) -> Iterator[Background]:
    """A gateway and a worker in another thread, as they would be in another process."""
    with Background(tmp_path) as background:
        yield background


def test_a_script_without_a_loop_gets_its_result(background: Background) -> None:
    with Client(background.url, token=TOKEN) as client:
        assert client.run("catalogue", {"page": 3}, timeout=30) == {"page": 3}
        with pytest.raises(JobFailed) as failed:
            client.run("catalogue", {"fail": "no"}, timeout=30)
        assert failed.value.job.error == "no"
        with pytest.raises(WaitTimeout):
            client.run("catalogue", queue="nobody", timeout=0.01)
        job = client.submit("catalogue", {"n": 1})
        assert client.wait(job.id).state is State.COMPLETED
        assert client.get(job.id[:-1]).id == job.id
        assert client.retry(job.id).parent == job.id
        assert client.cancel(job.id).state is State.COMPLETED
        assert client.find(state="completed").totals["completed"] >= 2
        with pytest.raises(JobNotFound):
            client.get("none")


def test_the_rest_of_the_methods(background: Background) -> None:
    with Client(background.url, token=TOKEN) as client:
        job = client.submit("catalogue", {"n": 1})
        assert [event.job.state for event in client.watch(job.id)][-1] is State.COMPLETED
        assert [record.data for record in client.logs(job.id)] == [b"log"]
        assert [record.data for record in client.logs(job.id, follow=True)] == [b"log"]
        assert client.full_log(job.id) == b"log"
        assert client.artifacts(job.id) == {}
        assert [script.name for script in client.scripts()] == ["catalogue"]
        assert client.set_queue("q", paused=True).paused
        assert "q" in [queue.name for queue in client.queues()]
        assert client.workers() == []
        assert client.stats().jobs


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


def test_map_and_leaving_it_half_way(background: Background) -> None:
    with Client(background.url, token=TOKEN) as client:
        asked = [{"n": n} for n in range(10)]
        assert list(client.map("catalogue", asked)) == asked
        some = client.map("catalogue", iter(asked), concurrency=2)
        assert next(some) == {"n": 0}
        some.close()  # type: ignore[attr-defined]
        assert client.run("catalogue", timeout=30) == {}


def test_several_threads_share_a_client(background: Background) -> None:
    with Client(background.url, token=TOKEN) as client, ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: client.run("catalogue", {"n": n}, timeout=30), range(24)))
    assert results == [{"n": n} for n in range(24)]


def test_straight_to_a_broker(background: Background) -> None:
    with Client(background.broker_url) as client:
        assert client.run("catalogue", {"page": 3}, timeout=30) == {"page": 3}


def test_closing_ends_the_thread_and_may_be_repeated(background: Background) -> None:
    client = Client(background.url, token=TOKEN)
    client.find()
    assert "pumasi-client" in [thread.name for thread in threading.enumerate()]
    client.close()
    client.close()
    assert "pumasi-client" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(RuntimeError, match="closed"):
        client.find()
    Client(background.url, token=TOKEN).close()


def test_a_client_that_is_dropped_lets_go(background: Background) -> None:
    client = Client(background.url, token=TOKEN)
    client.find()
    del client
    assert "pumasi-client" not in [thread.name for thread in threading.enumerate()]


def test_closing_ends_a_wait_in_another_thread(background: Background) -> None:
    client = Client(background.url, token=TOKEN)
    job = client.submit("catalogue", queue="nobody")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.wait, job.id, 60)
        background.somebody_waits()
        client.close()
        assert waiting.exception() is not None


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise SystemExit", "gc.collect()"])
def test_a_program_that_never_closes_ends_without_a_word(background: Background, end: str) -> None:
    code = f"""
import gc, sys
from pumasi import Client
client = Client({background.url!r}, token={TOKEN!r})
print(client.run("catalogue", {{"page": 3}}, timeout=30))
half = client.map("catalogue", [{{}}, {{}}, {{}}])
next(half)
{end}
"""
    program = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert (program.stderr, program.stdout) == ("", "{'page': 3}\n")
    assert program.returncode == (3 if "3" in end else 0)
