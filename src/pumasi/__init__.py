"""Pumasi runs Python scripts as isolated, supervised jobs.

For callers: `Client`, `AsyncClient`, and the errors they raise. For scripts: `from pumasi import script`, which loads
nothing but the standard library; that is why the names here are looked up only when they are used.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # what type checkers take for true; loading `typing` for it would cost every script
if TYPE_CHECKING:
    from typing import Any

    from pumasi import script as script
    from pumasi.client import AsyncClient as AsyncClient
    from pumasi.client import Client as Client
    from pumasi.errors import Error as Error
    from pumasi.errors import JobFailed as JobFailed
    from pumasi.errors import WaitTimeout as WaitTimeout

_HOMES = {
    "AsyncClient": "pumasi.client",
    "Client": "pumasi.client",
    "Error": "pumasi.errors",
    "JobFailed": "pumasi.errors",
    "WaitTimeout": "pumasi.errors",
}

__all__ = ["AsyncClient", "Client", "Error", "JobFailed", "WaitTimeout", "script"]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name == "script":
        return import_module("pumasi.script")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'pumasi' has no attribute {name!r}")
