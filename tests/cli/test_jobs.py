"""The verbs that look after jobs, on the embedded broker, with nobody there to run them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pumasi.cli.artifacts import _save
from pumasi.errors import Invalid

Pumasi = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def scripts(folder: Path) -> None:
    """One script that is fine, and one that is not."""
    (folder / "scripts" / "hello.py").write_text("def main(name='you'):\n    return f'hello {name}'\n")
    (folder / "scripts" / "broken.py").write_text("def main(:\n")


def submitted(pumasi: Pumasi, *words: str) -> str:
    code, out, err = pumasi("submit", "hello", *words)
    assert (code, err) == (0, "")
    return out.strip()


def test_submit_prints_the_id_or_the_job(pumasi: Pumasi) -> None:
    assert len(submitted(pumasi)) == 36
    code, out, _err = pumasi(
        "submit", "hello", "--json", "-p", "name=kim", "-l", "a=b", "-q", "slow", "--priority", "3"
    )
    job = json.loads(out)
    assert code == 0
    assert (job["state"], job["parameters"], job["labels"], job["queue"], job["priority"]) == (
        "pending", {"name": "kim"}, {"a": "b"}, "slow", 3,
    )  # fmt: skip


def test_submit_hands_every_option_on(pumasi: Pumasi) -> None:
    words = ["--delay", "1h", "--expires", "2h", "--unique", "u", "--retry", "2", "--key", "k", "--concurrency", "1"]
    words += [
        "--rate",
        "10/min",
        "--on-lost",
        "fail",
        "--required-memory",
        "64MB",
        "--timeout",
        "1m",
        "--memory",
        "1GB",
    ]
    words += ["--cpu", "30", "--processes", "4", "--open-files", "99", "--disk", "5MB", "--result", "json", "--json"]
    job = json.loads(pumasi("submit", "hello", *words, "--", "x", "y")[1])
    assert job["args"] == ["x", "y"]
    assert (job["unique"], job["on_lost"], job["timeout"], job["result_mode"]) == ("u", "fail", 60, "json")
    limits = {"memory": 1024**3, "cpu": 30, "processes": 4, "open_files": 99, "disk": 5 * 1024**2}
    assert limits.items() <= job["limits"].items()
    assert job["retry"]["max_attempts"] == 3
    assert (job["limit"]["key"], job["limit"]["concurrency"], job["limit"]["count"]) == ("k", 1, 10)
    assert job["required_memory"] == 64 * 1024**2
    assert job["times"]["run_at"] > job["times"]["created_at"]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["helo"], 1, "there is no script 'helo'; did you mean hello?"),
        (["broken"], 2, "broken.py, line 1: "),
        (["hello@2"], 1, "script 'hello' has no version 2"),
        (["../../etc/x"], 2, "SCRIPT '../../etc/x' is no name of a script"),
        (["hello", "--at", "tomorrow"], 2, "--at: 'tomorrow' is no time"),
        (["hello", "--delay", "1", "--at", "1900000000"], 2, ""),
        (["hello", "--retry", "some"], 2, "--retry: 'some' is no whole number"),
        (["hello", "--rate", "often", "--key", "k"], 2, "--rate 'often' is no rate"),
    ],
)
def test_what_cannot_be_submitted(pumasi: Pumasi, words: list[str], code: int, error: str) -> None:
    got, out, err = pumasi("submit", *words)
    assert (got, out) == (code, "")
    assert err.startswith(f"error: {error}")
    assert "Traceback" not in err


def test_waiting_ends_with_the_patience_and_names_the_job(pumasi: Pumasi) -> None:
    code, out, err = pumasi("submit", "hello", "--wait", "--wait-timeout", "0.1")
    assert (code, out) == (1, "")
    assert "has not ended within 0.1 s; it goes on" in err


def test_jobs_are_listed_with_short_ids(pumasi: Pumasi) -> None:
    assert pumasi("jobs")[2] == "no jobs\n"
    first, second = submitted(pumasi), submitted(pumasi, "-q", "slow", "--delay", "1h", "-l", "a=b")
    _code, out, _err = pumasi("jobs")
    heading, newest, oldest, blank, totals = out.splitlines()
    assert heading.split() == ["id", "script", "state", "queue", "submitted", "ran", "note"]
    assert second.startswith(newest.split()[0]) and first.startswith(oldest.split()[0])
    assert (blank, totals) == ("", "pending 2")
    assert "due in 1h" in newest or "due in 59m" in newest
    assert len(pumasi("jobs", "--queue", "slow", "--label", "a=b", "--since", "1h")[1].splitlines()) == 4
    assert pumasi("jobs", "--script", "other")[2] == "no jobs\n"
    page = json.loads(pumasi("jobs", "--json", "--limit", "1")[1])
    assert (len(page["jobs"]), page["totals"]["pending"]) == (1, 2)
    rest = json.loads(pumasi("jobs", "--json", "--cursor", page["cursor"])[1])
    assert [job["id"] for job in rest["jobs"]] == [first]


def test_show_says_why_a_job_waits(pumasi: Pumasi) -> None:
    id = submitted(pumasi, "-p", "name=kim", "--key", "k", "--concurrency", "2")
    _code, out, _err = pumasi("show", id[:-1])
    assert f"id               {id}\n" in out
    assert "it waits         no worker is alive; start one with `pumasi worker`\n" in out
    assert 'parameters       {"name": "kim"}\n' in out
    assert "limit            'k', 2 at a time\n" in out
    view = json.loads(pumasi("show", id, "--json")[1])
    assert view["waiting"] == ["no worker is alive; start one with `pumasi worker`"]


def test_an_id_that_fits_none_or_several(pumasi: Pumasi) -> None:
    ids = [submitted(pumasi), submitted(pumasi)]
    code, _out, err = pumasi("show", "0")
    assert code == 2
    assert all(id in err for id in ids)
    code, _out, err = pumasi("show", "nothing")
    assert (code, err) == (1, "error: There is no job 'nothing'; `pumasi jobs` lists those that are kept.\n")


def test_cancel_and_retry(pumasi: Pumasi) -> None:
    ids = [submitted(pumasi), submitted(pumasi)]
    code, out, err = pumasi("cancel", *ids, "nothing")
    assert code == 1
    assert out == "".join(f"{id}: cancelled\n" for id in ids)
    assert err.startswith("error: There is no job 'nothing'")
    code, out, _err = pumasi("retry", ids[0])
    assert code == 0
    again = json.loads(pumasi("show", out.strip(), "--json")[1])
    assert (again["parent"], again["state"]) == (ids[0], "pending")
    code, _out, err = pumasi("retry", out.strip())
    assert code == 1
    assert "has not ended, it is pending; cancel it first" in err
    assert "cancelled" in pumasi("show", ids[0])[1]


def test_queues_can_be_paused_and_bounded(pumasi: Pumasi) -> None:
    assert pumasi("queues")[2] == "no queue holds a job\n"
    id = submitted(pumasi)
    assert pumasi("queues", "pause", "default", "slow")[0] == 0
    assert "queue default is paused" in pumasi("show", id)[1]
    assert pumasi("queues", "limit", "default", "1")[0] == 0
    queue = next(queue for queue in json.loads(pumasi("queues", "--json")[1]) if queue["name"] == "default")
    assert (queue["paused"], queue["max_pending"], queue["pending"]) == (True, 1, 1)
    code, _out, err = pumasi("submit", "hello")
    assert code == 1
    assert "Queue 'default' is full (1 jobs wait)" in err
    assert pumasi("queues", "resume", "default")[0] == 0
    assert pumasi("queues", "limit", "default", "default")[0] == 0
    assert [line.split()[:2] for line in pumasi("queues")[1].splitlines()[1:]] == [
        ["default", "open"],
        ["slow", "paused"],
    ]
    code, _out, err = pumasi("queues", "limit", "default", "none")
    assert (code, err) == (
        2, "error: a queue's limit is a whole number above 0, or default; not 'none'\n",
    )  # fmt: skip


def test_stats_scripts_and_workers(pumasi: Pumasi) -> None:
    pumasi("cancel", submitted(pumasi))
    submitted(pumasi)
    rows = [line.split() for line in pumasi("stats")[1].splitlines()]
    assert rows[1] == ["hello", "1", "0", "0", "0", "1"]
    assert json.loads(pumasi("stats", "--json")[1])["totals"] == {"pending": 1, "cancelled": 1}
    out = pumasi("scripts")[1]
    assert "cannot be used: broken.py, line 1: " in out
    assert {script["name"] for script in json.loads(pumasi("scripts", "--json")[1])} == {"broken", "hello"}
    assert pumasi("workers") == (0, "", "no worker is alive; start one with `pumasi worker`\n")
    assert json.loads(pumasi("workers", "--json")[1]) == []


def test_logs_and_artifacts_of_a_job_that_has_none(pumasi: Pumasi) -> None:
    id = submitted(pumasi)
    assert pumasi("logs", id) == (0, "", "")
    assert pumasi("logs", id, "--full") == (0, "", "")
    assert pumasi("artifacts", id) == (0, "", "no files\n")
    code, _out, err = pumasi("artifacts", id, "page.png")
    assert (code, err) == (1, f"error: Job '{id}' has no artifact 'page.png'.\n")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "a//b", "a/./b", "a\0b", "link/x"])
def test_a_file_is_never_saved_outside_of_the_folder(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "link").symlink_to(tmp_path)
    with pytest.raises(Invalid, match="leads out of the folder"):
        _save(out, name, b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scripts"]


def test_a_file_is_saved_below_the_folder_and_follows_no_link(tmp_path: Path) -> None:
    assert _save(tmp_path, "1/page.png", b"x").read_bytes() == b"x"
    (tmp_path / "there").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        _save(tmp_path, "there", b"x")


def test_a_broker_named_for_other_programs_does_not_exist_yet(pumasi: Pumasi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://guest:hush@mq/")
    for words in (["jobs"], ["worker"], ["up"]):
        code, _out, err = pumasi(*words)
        assert code == 2
        assert err == (
            "error: environment RABBITMQ_URL names a broker, and Pumasi cannot work on RabbitMQ yet; "
            "set PUMASI_BROKER=sqlite:///FILE\n"
        )


@pytest.mark.parametrize("words", [["jobs"], ["worker"]])
def test_a_database_that_cannot_be_used(
    pumasi: Pumasi, folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (folder / "db").mkdir()
    monkeypatch.setenv("PUMASI_BROKER", f"sqlite:///{folder}/db")
    code, _out, err = pumasi(*words)
    assert code == 2
    assert "is a folder; name a file in it" in err
    assert "Traceback" not in err
