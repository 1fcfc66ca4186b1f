"""Logs: events with parameters. Consoles show them to people, in their language; machines get JSON lines.

    log = get_logger(__name__)
    log.info("worker.started", slots=4)

`worker.started` is a stable English id; its sentence, with `{slots}` in it, stands in the catalogues of both languages.
Who speaks (`worker_id`, `task_id`) is bound once per task: `with bound(worker_id=…):`. Secrets are masked and control
characters escaped here, so that no caller can forget it. What libraries log through `logging` comes in as well, from
warnings up. A program that never calls `configure` logs warnings to standard error.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from string import Formatter
from typing import Any, TextIO

from pumasi.locale import gettext, render
from pumasi.masking import mask, masked
from pumasi.terminal import UNSAFE, printable

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
#: the fields of a JSON line, in order; parameters of these names get an underscore
FIELDS = (
    "timestamp", "level", "message", "event", "worker_id", "task_id", "module", "function", "line", "exception",
)  # fmt: skip
_OURS = frozenset({"timestamp", "level", "message", "function", "line", "exception"})
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}

EventDict = MutableMapping[str, Any]

#: what `configure` was told: least level, form, file; structlog is set up with it when the first event is shown
_least = LEVELS["warning"]
_format = "console"
_file: TextIO | None = None
_ready = False
_context: ContextVar[dict[str, Any]] = ContextVar("log", default={})  # noqa: B039 - never changed, only replaced


class Logger:
    """Says what happens in one module. Events below the level cost a comparison; structlog is not even loaded."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **parameters: Any) -> None:
        """For whoever looks for a fault."""
        if _least <= LEVELS["debug"]:
            self._emit("debug", event, parameters)

    def info(self, event: str, **parameters: Any) -> None:
        """What went as it should."""
        if _least <= LEVELS["info"]:
            self._emit("info", event, parameters)

    def warning(self, event: str, **parameters: Any) -> None:
        """What somebody may have to look after."""
        if _least <= LEVELS["warning"]:
            self._emit("warning", event, parameters)

    def error(self, event: str, **parameters: Any) -> None:
        """What went wrong."""
        self._emit("error", event, parameters)

    def exception(self, event: str, **parameters: Any) -> None:
        """What went wrong, with the exception that is being handled."""
        self._emit("error", event, {"exc_info": True, **parameters})

    def _emit(self, level: str, event: str, parameters: dict[str, Any]) -> None:
        import structlog

        if not _ready:
            _set_up()
        getattr(structlog.get_logger(module=self._name), level)(event, **{**_context.get(), **parameters})


def get_logger(name: str) -> Logger:
    """A logger for a module: `log.info(event_id, **parameters)`, likewise debug, warning, error, exception."""
    return Logger(name)


@contextmanager
def bound(**values: Any) -> Iterator[None]:
    """Values that every event of this task has while the body runs, such as `worker_id` and `task_id`."""
    token = _context.set({**_context.get(), **values})
    try:
        yield
    finally:
        _context.reset(token)


def configure(format: str = "auto", level: str = "info", *, file: TextIO | None = None) -> None:
    """How this process logs from now on.

    Args:
        format: `console`, `json`, or `auto`: console when `file` is a terminal.
        level: least level shown: debug, info, warning, error.
        file: where to; standard error when left out.
    """
    global _least, _format, _file, _ready
    _least, _format, _file, _ready = LEVELS[level], format, file, False
    root = logging.getLogger()
    if not any(isinstance(handler, _FromLibraries) for handler in root.handlers):
        root.addHandler(_FromLibraries())
    root.setLevel(max(_least, logging.WARNING))


def _set_up() -> None:
    """Give structlog what `configure` was told."""
    import structlog
    from structlog.processors import CallsiteParameter, CallsiteParameterAdder

    global _ready
    _ready = True
    terminal = (_file or sys.stderr).isatty()
    plain = _format == "json" or (_format == "auto" and not terminal)
    place = CallsiteParameterAdder(
        {CallsiteParameter.FUNC_NAME, CallsiteParameter.LINENO}, additional_ignores=[__name__]
    )
    shown: Any = _json_line if plain else _Console(colours=terminal and not os.environ.get("NO_COLOR"))
    structlog.configure(
        processors=[_set_aside, *([place] if plain else []), _complete, shown],
        wrapper_class=structlog.make_filtering_bound_logger(_least),
        logger_factory=lambda *_: structlog.WriteLogger(_file or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _set_aside(_: Any, method: str, event: EventDict) -> EventDict:
    """Rename parameters that are called like a field of ours."""
    for name in _OURS & event.keys():
        event[f"{name}_"] = event.pop(name)
    return event


def _complete(_: Any, method: str, event: EventDict) -> EventDict:
    """Add what every line says; hide what none may say."""
    error = _exception(event.pop("exc_info", None))
    module = event.pop("module", "")
    function, line = event.pop("func_name", None), event.pop("lineno", None)
    if record := event.pop("_record", None):
        function, line = record.funcName, record.lineno
    id = str(event.pop("event", ""))
    details = {name: masked(name, _plain(value)) for name, value in event.items()}
    message = mask(render(id, details))
    task = details.pop("task_id", None) or details.get("job_id") or details.get("job")
    fields = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": method,
        "message": message,
        "event": id,
        "worker_id": details.pop("worker_id", None),
        "task_id": task,
        "module": module,
        "function": function,
        "line": line,
        "exception": error and mask(error),
    }
    return {**{name: value for name, value in fields.items() if value is not None}, **details}


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, (str, int, float, bool, dict, list, tuple)):
        return value
    if isinstance(value, BaseException):
        return str(value) or type(value).__name__
    return str(value)


def _exception(info: Any) -> str | None:
    if not info:
        return None
    error = info if isinstance(info, BaseException) else sys.exc_info()[1]
    return "".join(traceback.format_exception(error)).rstrip() if error else None


def _json_line(_: Any, method: str, event: EventDict) -> str:
    """One line; what a terminal should not see is escaped the JSON way, so that readers get it back as it was."""
    text = json.dumps(event, ensure_ascii=False, default=str)
    return UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text)


class _Console:
    """Lines for people: time, level, message, and the parameters that the message does not tell already."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: Any, method: str, event: EventDict) -> str:
        level, message = event["level"], printable(event["message"], lines=False)
        told = {name for _text, name, *_rest in Formatter().parse(gettext(event["event"])) if name}
        rest = [
            f"{name}={printable(str(value), lines=False)}"
            for name, value in event.items()
            if name not in FIELDS and name not in told and value is not None
        ]
        line = f"{time.strftime('%H:%M:%S')} {self._paint(_COLOURS[level], f'{level:<7}')} {message}"
        if rest:
            line += self._paint("2", "  " + " ".join(rest))
        if event.get("exception"):
            line += "\n" + printable(event["exception"])
        return line

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


class _FromLibraries(logging.Handler):
    """Takes what libraries log with `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        log: Callable[..., None] = getattr(get_logger(record.name), _level(record.levelno))
        error = record.exc_info[1] if record.exc_info else None
        log("library.message", library=record.name, text=record.getMessage(), exc_info=error, _record=record)


def _level(number: int) -> str:
    return next((name for name, least in reversed(LEVELS.items()) if number >= least), "debug")
