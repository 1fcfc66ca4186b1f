"""Users that nobody else has: a range of uids for each worker, when it is root.

No file says who has which range; a worker holds an abstract socket of the range's name, which the kernel takes back
when the worker is gone, however it goes.
"""

import os
import socket
from pathlib import Path

from pumasi.errors import SandboxFault

#: far above what distributions hand out, also to containers
FIRST = 0x60000000
RANGES = 4096
#: of one worker; and the part of it that one template has: its own root, then two for each slot
RANGE, BLOCK = 65536, 2048


class Uids:
    """A range, held until `close`."""

    def __init__(self) -> None:
        self._name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._free = list(range(RANGE // BLOCK))
        for number in range(RANGES):
            try:
                self._name.bind(f"\0pumasi-uids-{number}")
            except OSError:
                continue
            self._base = FIRST + number * RANGE
            return
        raise SandboxFault("every range of user ids is taken")

    def take(self) -> tuple[int, int]:
        """A block for a template: its first uid, and how many. Raises: SandboxFault."""
        if not self._free:
            raise SandboxFault("there are too many templates")
        return self._base + self._free.pop() * BLOCK, BLOCK

    def give_back(self, first: int) -> None:
        """The block's template, and every process of it, is gone."""
        self._free.append((first - self._base) // BLOCK)

    def close(self) -> None:
        self._name.close()


def may_change_users() -> bool:
    """Whether this process may become whom it likes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return os.geteuid() == 0 and effective & 0xC0 == 0xC0  # CAP_SETGID, CAP_SETUID
