"""What a worker counts of itself, under the names of the worker statistics that other programs read."""

import time

import psutil

from pumasi.core.outcome import Completed, Failed, Outcome

#: seconds for which a reading of the process's memory and CPU stands: heartbeats may come one upon another
READING_SECONDS = 5.0


class Tally:
    """Counts since the worker started."""

    def __init__(self) -> None:
        self.started_at = time.time()
        self.claimed = self.completed = self.failed = self.lost = self.errors_in_a_row = 0
        self._seconds = 0.0
        self._process = psutil.Process()
        self._read_at = float("-inf")
        self._memory = self._cpu = 0.0

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """A run is over."""
        match outcome:
            case Completed():
                self.completed += 1
                self.errors_in_a_row = 0
            case Failed():
                self.failed += 1
                self.errors_in_a_row += 1
            case _:
                return
        self._seconds += seconds

    def stats(self, used: int, total: int) -> dict[str, float]:
        """The statistics; times in seconds, memory in MB."""
        self._read()
        ended = self.completed + self.failed
        return {
            "uptime_seconds": round(time.time() - self.started_at, 1),
            "tasks_claimed": self.claimed,
            "tasks_completed": self.completed,
            "tasks_failed": self.failed,
            "success_rate": round(self.completed / ended, 4) if ended else 0.0,
            "avg_processing_time": round(self._seconds / ended, 4) if ended else 0.0,
            "memory_usage_mb": self._memory,
            "cpu_percent": self._cpu,
            "consecutive_errors": self.errors_in_a_row,
            "slots_used": used,
            "slots_total": total,
            "lease_losses": self.lost,
        }

    def _read(self) -> None:
        if time.monotonic() - self._read_at < READING_SECONDS:
            return
        self._read_at = time.monotonic()
        self._memory = round(self._process.memory_info().rss / 1024**2, 1)
        self._cpu = self._process.cpu_percent()
