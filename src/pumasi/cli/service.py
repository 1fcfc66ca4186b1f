"""What the services have in common: logs for people or machines, and two signals, the first of which is polite."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

from pumasi.cli.output import say
from pumasi.cli.target import checked
from pumasi.config import Settings
from pumasi.locale import gettext as _
from pumasi.units import format_duration


def load(**flags: Any) -> Settings:
    """The settings, with logs as a service writes them; what was left out is logged."""
    from pumasi import log

    settings = Settings.load(**flags)
    log.configure(settings.log_format, "debug" if settings.debug else settings.log_level)
    for note in settings.notes:
        log.get_logger(__name__).warning("config.note", reason=str(note))
    return checked(settings)


@contextlib.contextmanager
def signals(handler: Callable[[int], None]) -> Iterator[None]:
    """While the body runs, SIGINT and SIGTERM call `handler` and do nothing else."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handler, number)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Draining:
    """A handler of signals: the first drains, the second stops at once."""

    def __init__(self, settings: Settings, drain: Callable[[], None], stop: Callable[[], None]) -> None:
        self._seconds = settings.drain
        self._drain = drain
        self._stop = stop
        self._asked = False

    def __call__(self, number: int) -> None:
        if self._asked:
            self._stop()
            return
        self._asked = True
        text = _("draining: running jobs get {duration} to finish; once more stops at once")
        say(text.format(duration=format_duration(self._seconds)))
        self._drain()
