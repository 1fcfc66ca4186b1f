"""The picture of the demo in the README.

    python tools/picture.py

Runs `examples/demo.py` in a terminal, and draws what stands on the screen at its end.
"""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "demo.svg"
COLUMNS, ROWS = 110, 40
_CONTROL = re.compile(rb"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n")
#: the picture is to load no font from elsewhere
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def recorded() -> bytes:
    """All that the demo writes to a terminal. Raises: CalledProcessError when it fails."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PUMASI_LANG": "en"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=ROOT)
    os.close(theirs)
    written = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, written)
    return written


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""


def screen(written: bytes) -> str:
    """The lines that stand there at the end, with their colours: what was drawn over is gone."""
    lines, at, end = [b""], 0, 0
    for control in _CONTROL.finditer(written):
        lines[at] += written[end : control.start()]
        end = control.end()
        match control[2], control[0]:
            case b"A", _:
                at = max(0, at - int(control[1] or 1))
            case b"K", _:
                lines[at] = b""
            case b"m", sequence:
                lines[at] += sequence
            case _, b"\n":
                at += 1
                lines += [b""] * (at == len(lines))
    lines[at] += written[end:]
    return b"\n".join(lines).decode().rstrip()


def main() -> int:
    """Run the demo, draw the picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("$ make demo\n" + screen(recorded())))
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(_FONTS.sub("", console.export_svg(title="Pumasi", unique_id="demo")), "utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
