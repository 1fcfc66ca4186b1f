"""The three pipes of a script, and what has come out of them: standard output and error, and the report pipe."""

from collections.abc import Callable

from pumasi.core.job import ResultMode
from pumasi.runner.journal import Journal
from pumasi.runner.output import Capture, Pipe, Withheld
from pumasi.runner.reports import Reports

#: what is kept of a stream that cannot hold a result
STREAM_KEEP = 64 * 1024


class Streams:
    """Open from before the birth until after the end; reads as the script writes.

    Args:
        journal: where the log goes.
        mode: how the script gives its result; decides how much of standard output is kept.
        result_limit: bytes of a result.
        output_limit: bytes that may be printed; beyond, `on_flood` is called.
    """

    def __init__(
        self,
        journal: Journal,
        mode: ResultMode,
        *,
        result_limit: int,
        output_limit: int | None,
        on_flood: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._output_limit = output_limit
        self._on_flood = on_flood
        self._may_hold_result = mode in ("json", "json-lenient")
        self.stdout = Capture(result_limit if self._may_hold_result else STREAM_KEEP)
        self.stderr = Capture(STREAM_KEEP)
        self.reports = Reports(journal, result_limit)
        self._withheld = Withheld(lambda data: journal.add("stdout", data))
        self._pipes = Pipe(self._on_stdout), Pipe(self._on_stderr), Pipe(self.reports.feed)

    @property
    def writers(self) -> list[int]:
        """The ends for the script: standard output, standard error, reports."""
        return [pipe.writer for pipe in self._pipes]

    @property
    def total(self) -> int:
        """Bytes printed."""
        return self.stdout.total + self.stderr.total

    def close_writers(self) -> None:
        """Our copies; from here on only the script's side holds the pipes open."""
        for pipe in self._pipes:
            pipe.close_writer()

    def drain(self) -> None:
        """Take what is left in the pipes once nothing can write any more."""
        for pipe in self._pipes:
            pipe.drain()

    def finish(self, *, taken: bool) -> None:
        """Log what was held back, unless it was `taken` as the result."""
        self._withheld.finish(taken and self._may_hold_result)

    def close(self) -> None:
        """Safe to repeat."""
        for pipe in self._pipes:
            pipe.close()

    def _on_stdout(self, data: bytes) -> None:
        self.stdout.feed(data)
        if self._may_hold_result:
            self._withheld.feed(data)
        else:
            self._journal.add("stdout", data)
        self._bound()

    def _on_stderr(self, data: bytes) -> None:
        self.stderr.feed(data)
        self._journal.add("stderr", data)
        self._bound()

    def _bound(self) -> None:
        if self._output_limit is not None and self.total > self._output_limit:
            self._on_flood()
