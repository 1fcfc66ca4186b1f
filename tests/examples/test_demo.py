"""`make demo` as a newcomer runs it: it ends by itself with 0, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def start(tmp_path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "examples" / "demo.py")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_over(tmp_path: Path) -> list[str]:
    """Files and processes that still have to do with the demo's temporary folder."""
    files = [str(path) for path in tmp_path.rglob("*")]
    processes = [str(process.info) for process in psutil.process_iter(["pid", "cmdline", "environ"])
                 if str(tmp_path) in str((process.info["environ"] or {}).values())]  # fmt: skip
    return files + processes


def test_it_scrapes_the_shop_and_ends(tmp_path: Path) -> None:
    demo = start(tmp_path)
    output, _ = demo.communicate(timeout=100)
    assert demo.returncode == 0, output
    assert "tea" in output
    assert "What the jobs found" in output
    assert output.count("completed") == 6
    assert left_over(tmp_path) == []


def test_it_can_be_interrupted(tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith("gateway and worker are up"):
            break
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=100)
    assert demo.returncode == 130, output
    assert left_over(tmp_path) == []
