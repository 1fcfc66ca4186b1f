"""Messages between a worker and what runs inside: JSON objects on a SOCK_SEQPACKET pair, with descriptors."""

from __future__ import annotations

import contextlib
import json
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]


def receive(control: socket.socket) -> tuple[Message | None, list[int]]:
    """A message and its fds; (None, []) at the end of file."""
    try:
        data, fds, _, _ = socket.recv_fds(control, 256 * 1024, 8, socket.MSG_CMSG_CLOEXEC)
    except (ConnectionResetError, InterruptedError):
        data, fds = b"", []
    return (json.loads(data) if data else None), list(fds)


def send(control: socket.socket, message: Message, fds: list[int] | None = None) -> None:
    """Send; that the worker is gone is said by the next `receive`."""
    with contextlib.suppress(OSError):
        socket.send_fds(control, [json.dumps(message).encode()], fds or [])
