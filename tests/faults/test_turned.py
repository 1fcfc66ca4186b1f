"""A clock that is set is seen by those who run by it, at once, and by nobody else."""

import subprocess
import sys
import time
from pathlib import Path

from tests.faults.turned import Turned

ASKED = """
import sys, time
for _ in sys.stdin:
    print(time.time(), int(time.clock_gettime(5)), time.monotonic(), flush=True)
"""


def test_a_clock_that_is_set(tmp_path: Path) -> None:
    clock = Turned(tmp_path)
    with subprocess.Popen(
        clock.command([sys.executable, "-c", ASKED]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0, 3600, -60, 0):
            clock.set(seconds)
            process.stdin.write("now\n")
            process.stdin.flush()
            wall, coarse, steady = map(float, process.stdout.readline().split())
            assert abs(wall - time.time() - seconds) < 5
            assert abs(coarse - time.time() - seconds) < 5
            assert abs(steady - time.monotonic()) < 5
