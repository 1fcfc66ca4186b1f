"""What comes over a script's report pipe: progress, log lines, declared artifacts, and the value of `main`."""

import json
from typing import Any

from pumasi.runner.journal import Journal
from pumasi.runner.output import Lines

MAX_ARTIFACTS = 100
#: JSON inside JSON: a result of n bytes may need twice as many on the pipe, and a few round it
_OVERHEAD = 2


class Reports:
    """Reads the pipe line by line. A script can write what it likes here, so nothing is believed beyond its form."""

    def __init__(self, journal: Journal, result_limit: int) -> None:
        self._journal = journal
        self._lines = Lines(_OVERHEAD * result_limit + 4096)
        self.artifacts: list[str] = []
        #: JSON text of what `main` returned
        self.result: str | None = None
        #: what `main` raised, why it could not be called, why its value is no JSON
        self.raised: str | None = None
        self.mismatch: str | None = None
        self.unfit: str | None = None
        #: bytes of a line that was too long to be read
        self.oversize = 0

    def feed(self, data: bytes) -> None:
        """The next bytes of the pipe."""
        for line in self._lines.feed(data):
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                self.oversize = max(self.oversize, len(line))
                continue
            if isinstance(message, dict):
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        match message:
            case {"progress": [int() | float() as done, (int() | float() | None) as total, str() as note]}:
                self._journal.progress(done, total, note[:1000])
            case {"log": str() as text}:
                level = message.get("level", "info")
                line = text if level == "info" else f"{level}: {text}"
                self._journal.add("log", line.encode("utf-8", "replace") + b"\n")
            case {"artifact": str() as name}:
                if name not in self.artifacts and len(self.artifacts) < MAX_ARTIFACTS:
                    self.artifacts.append(name)
            case {"result": str() as text}:
                self.result = text
            case {"raised": str() as text}:
                self.raised = text
            case {"mismatch": str() as text}:
                self.mismatch = text
            case {"unfit": str() as text}:
                self.unfit = text
            case _:
                pass
