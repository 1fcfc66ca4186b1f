"""What fault tests have: real processes, a system that shares their broker, and scripts that leave notes."""

import asyncio

from tests.harness import System
from tests.processes import Processes


class Site:
    """Real worker processes, and a system in this process that shares their broker."""

    def __init__(self, system: System, workers: Processes) -> None:
        self.system = system
        self.workers = workers

    def notes(self, name: str) -> list[str]:
        """What scripts have written to a file of notes, line by line."""
        path = self.system.folder / name
        return path.read_text().split() if path.exists() else []

    async def noted(self, name: str, count: int = 1) -> list[str]:
        """The notes once there are so many."""
        async with asyncio.timeout(30):
            while len(self.notes(name)) < count:
                await asyncio.sleep(0.02)
        return self.notes(name)


NOTE = """
import os, time
def note(name, text):
    fd = os.open(os.path.join({folder!r}, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (str(text) + "\\n").encode())
    os.close(fd)
"""


def noting(site: Site, body: str) -> str:
    return NOTE.format(folder=str(site.system.folder)) + body
