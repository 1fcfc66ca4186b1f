"""Logs: the fields of a line, the language of a message, and what must never be in one."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pumasi import log
from pumasi.locale import set_language
from pumasi.masking import mask, masked
from pumasi.terminal import printable


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """Logging as it was, and the language as well."""
    before = (log._least, log._format, log._file, logging.getLogger().level, list(logging.getLogger().handlers))
    yield
    log._least, log._format, log._file = before[:3]
    log._ready = False
    logging.getLogger().setLevel(before[3])
    logging.getLogger().handlers[:] = before[4]
    set_language(None)


def lines(level: str = "debug") -> "tuple[io.StringIO, Any]":
    file = io.StringIO()
    log.configure("json", level, file=file)
    return file, lambda: [json.loads(line) for line in file.getvalue().splitlines()]


def test_a_json_line_has_the_fields_in_order() -> None:
    _file, read = lines()
    with log.bound(worker_id="w1"):
        log.get_logger("pumasi.some").info("worker.started", worker="w1", slots=4, queues="default", task_id="0193")
    (line,) = read()
    assert list(line)[:8] == ["timestamp", "level", "message", "event", "worker_id", "task_id", "module", "function"]
    assert line["message"] == "worker w1 started: 4 slots, queues default"
    assert (line["event"], line["level"], line["worker_id"]) == ("worker.started", "info", "w1")
    assert (line["module"], line["function"], line["task_id"]) == (
        "pumasi.some", "test_a_json_line_has_the_fields_in_order", "0193",
    )  # fmt: skip
    assert line["slots"] == 4
    assert line["timestamp"].endswith("Z")


def test_a_message_is_in_the_language_chosen() -> None:
    _file, read = lines()
    set_language("ko")
    log.get_logger("m").info("gateway.stopped", url="http://h")
    assert read()[0]["message"] == "게이트웨이 http://h이(가) 멈췄습니다"


def test_a_message_may_name_the_task() -> None:
    _file, read = lines()
    set_language("en")
    with log.bound(task_id="0193"):
        log.get_logger("m").info("job.completed", script="catalogue")
    assert (read()[0]["message"], read()[0]["task_id"]) == ("job 0193 (catalogue) completed", "0193")


def test_an_event_below_the_level_is_not_written() -> None:
    file, _read = lines("warning")
    log.get_logger("m").info("worker.draining", runs=1, seconds=2)
    log.get_logger("m").debug("worker.draining", runs=1, seconds=2)
    assert file.getvalue() == ""


def test_an_exception_is_told() -> None:
    _file, read = lines()
    try:
        raise ValueError("what")
    except ValueError:
        log.get_logger("m").exception("gateway.failed", path="/x")
    (line,) = read()
    assert line["level"] == "error"
    assert line["exception"].endswith("ValueError: what")


def test_a_parameter_called_like_a_field_does_not_overwrite_it() -> None:
    _file, read = lines()
    log.get_logger("m").info("gateway.stopped", url="u", line=12, level="high")
    (line,) = read()
    assert (line["level"], line["level_"], line["line_"]) == ("info", "high", 12)


def test_secrets_are_masked_everywhere() -> None:
    file, read = lines()
    try:
        raise ValueError("amqp://me:hush@host failed")
    except ValueError:
        log.get_logger("m").exception(
            "gateway.stopped",
            url="redis://:hush@host/0",
            token="hush",
            headers={"Authorization": "Bearer hush", "Accept": "x"},
            tried=["https://h/?token=hush&x=1"],
        )
    assert "hush" not in file.getvalue()
    assert read()[0]["headers"] == {"Authorization": "***", "Accept": "x"}


def test_control_characters_are_escaped_the_json_way() -> None:
    file, read = lines()
    nasty = "\x1b[31m\x9b\u202e\n"
    log.get_logger("m").info("gateway.stopped", url=nasty)
    assert file.getvalue().count("\n") == 1
    assert not set(nasty[:-1]) & set(file.getvalue()) - set("[31m")
    assert read()[0]["url"] == nasty


def test_a_console_line_says_what_the_message_does_not() -> None:
    file = io.StringIO()
    log.configure("console", "info", file=file)
    log.get_logger("m").warning("gateway.stopped", url="http://h", reason="\x1b[2Jgone\n")
    text = file.getvalue()
    assert "the gateway at http://h has stopped  reason=\\x1b[2Jgone\\n" in text
    assert "url=" not in text
    assert text.count("\n") == 1
    assert "\x1b" not in text


def test_auto_is_json_where_nobody_looks() -> None:
    file = io.StringIO()
    log.configure("auto", "info", file=file)
    log.get_logger("m").info("gateway.stopped", url="u")
    assert json.loads(file.getvalue())["event"] == "gateway.stopped"


def test_libraries_are_heard_from_warnings_up() -> None:
    _file, read = lines("info")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("look at %s", "this")
    (line,) = read()
    assert (line["event"], line["module"], line["message"]) == (
        "library.message", "some.library", "some.library: look at this",
    )  # fmt: skip


def test_without_configure_only_warnings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    log._least, log._format, log._file, log._ready = log.LEVELS["warning"], "console", None, False
    log.get_logger("m").info("gateway.stopped", url="u")
    log.get_logger("m").warning("gateway.stopped", url="u")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_the_logger_is_light_until_it_speaks() -> None:
    import subprocess

    code = "import pumasi.log, sys; pumasi.log.get_logger('m').info('x'); assert 'structlog' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain 한글 🙂", "plain 한글 🙂"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("\x80\x9b\x7f", "\\x80\\x9b\\x7f"),
        ("10%\r20%\r\nend\tx\n", "10%\n20%\nend\tx\n"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        (b"\xff\xfe ok", "\\xff\\xfe ok"),
    ],
)
def test_what_reaches_a_terminal_is_printable(given: str | bytes, shown: str) -> None:
    assert printable(given) == shown


def test_on_one_line_breaks_are_escaped_too() -> None:
    assert printable("a\nb\tc\rd", lines=False) == "a\\nb\\tc\\rd"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://me:pw@host/x", "amqp://me:***@host/x"),
        ("redis://:pw@host", "redis://:***@host"),
        ("postgresql://u:p/w:x@y@h/db", "postgresql://u:***@h/db"),
        ("http://host:8000/scripts/name@1.2", "http://host:8000/scripts/name@1.2"),
        ("http://host:8000/path?api_key=abc&x=1", "http://host:8000/path?api_key=***&x=1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_credentials_in_a_text_are_masked(text: str, shown: str) -> None:
    assert mask(text) == shown


def test_a_value_is_masked_by_its_name() -> None:
    assert masked("api_key", "x") == "***"
    assert masked("password", "") == ""
    assert masked("settings", [{"secret": "x", "port": 1}]) == [{"secret": "***", "port": 1}]
