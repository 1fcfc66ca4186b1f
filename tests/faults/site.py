"""What fault tests have: real processes, a system that shares their broker, and scripts that leave notes."""

from tests.harness import System
from tests.notes import Notes
from tests.processes import Processes


class Site:
    """Real worker processes, and a system in this process that shares their broker."""

    def __init__(self, system: System, workers: Processes, notes: Notes) -> None:
        self.system = system
        self.workers = workers
        self.notes = notes


def noting(site: Site, body: str) -> str:
    return site.notes.source + body
