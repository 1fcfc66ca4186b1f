"""Figures as they come in, round after round."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median, quantiles

#: `{what: {system: value}}`
Values = dict[str, dict[str, float]]


class Notes:
    """Figures of several rounds; what counts is the middle one."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, what: str, system: str, value: float) -> None:
        """One figure."""
        self._found[what][system].append(value)

    def add_times(self, what: str, system: str, seconds: Sequence[float]) -> None:
        """Times of one kind, as their middle and their last hundredth."""
        self.add(f"{what}, p50 ms", system, 1000 * median(seconds))
        self.add(f"{what}, p99 ms", system, 1000 * quantiles(seconds, n=100, method="inclusive")[98])

    def medians(self) -> Values:
        """What was found."""
        return {what: {system: median(values) for system, values in row.items()} for what, row in self._found.items()}
