"""A wall clock that is set while processes run by it; their steady clocks stay as they are."""

import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers import missing

SOURCE = Path(__file__).with_name("turned.c")


class Turned:
    """Such a clock, in a folder that those who run by it can read."""

    def __init__(self, folder: Path, name: str = "turned") -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            missing("a C compiler", "apt-get install gcc libc6-dev")
        self._library = folder / f"{name}.so"
        self._file = folder / f"{name}.clock"
        self._file.write_bytes(bytes(8))
        subprocess.run([str(compiler), "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE], check=True)
        for path in (self._library, self._file):
            path.chmod(0o755)

    def set(self, seconds: int) -> None:
        """So much later than it is, or earlier."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", seconds))

    def command(self, command: Sequence[str]) -> list[str]:
        """A command whose process goes by this clock."""
        return ["env", f"LD_PRELOAD={self._library}", f"TURNED_CLOCK={self._file}", *command]
