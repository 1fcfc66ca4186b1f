"""Which isolation this host offers: each level's parts, tried in the order of their strength, never guessed.

A level is offered when every part it is made of is here, and a first job has run in it (`templates.py` has it run).
What is missing is said in a sentence that tells how to turn it on.
"""

import os

from msgspec import Struct

from pumasi.errors import BadSetting, SandboxFault
from pumasi.locale import gettext as _
from pumasi.sandbox import cgroup, seccomp
from pumasi.sandbox.inside import kernel
from pumasi.sandbox.uids import Uids, may_change_users

#: the strongest first
LEVELS = ("full", "unprivileged", "container", "basic")


class Parts(Struct, kw_only=True):
    """What this host has, found by trying: a thing to use, or the reason why not."""

    uids: Uids | str
    cgroups: cgroup.Cgroups | str
    filters: dict[str, bytes] | str
    landlock: int | str

    def close(self) -> None:
        """Give back what others could use."""
        for part in (self.uids, self.cgroups):
            if not isinstance(part, str):
                part.close()


def find() -> Parts:
    """Try each part. Takes some 50 ms."""
    version = kernel.landlock_version()
    return Parts(
        uids=_uids(),
        cgroups=cgroup.Cgroups.probe(),
        filters=_filters(),
        landlock=version or _("the kernel has no Landlock (5.13), or it is not in the boot option lsm="),
    )


def candidates(setting: str) -> tuple[str, ...]:
    """The levels to try, the best first."""
    if setting == "auto":
        return LEVELS
    return ("full",) if setting == "require" else (setting,)


def missing(level: str, parts: Parts) -> str:
    """Why a level cannot be, before anything is tried; empty when its parts are here."""
    needed = {"full": ("uids", "cgroups", "filters", "landlock"), "unprivileged": ("filters",),
              "container": ("filters",), "basic": ()}[level]  # fmt: skip
    reasons = [str(part) for name in needed if isinstance(part := getattr(parts, name), str)]
    if level == "unprivileged" and isinstance(parts.uids, str) and os.geteuid() == 0:
        # the one user that could be mapped would be the host's root, whose files in /proc/sys a script could write
        reasons.append(_("the worker is root without the right to change users; run it as another user"))
    return "; ".join(reasons)


def refused(setting: str, reasons: dict[str, str]) -> BadSetting:
    """None of the levels that a setting allows can be had here."""
    text = "isolation is {value!r}, and this host does not offer it: {reasons}"
    told = "; ".join(f"{level}: {reason}" for level, reason in reasons.items())
    return BadSetting(text, value=setting, reasons=told)


def _uids() -> Uids | str:
    if not may_change_users():
        return _("the worker is not root, and cannot give each slot a user of its own; run it as root")
    try:
        return Uids()
    except SandboxFault as error:
        return str(error)


def _filters() -> dict[str, bytes] | str:
    if not seccomp.supported():
        return _("there is no system call filter for this processor yet")
    if problem := seccomp.probe():
        return _("the kernel takes no system call filter: {reason}").format(reason=problem)
    return {
        "slot": seccomp.slot_filter(),
        "offline": seccomp.slot_filter(network=False),
        "job": seccomp.job_filter(),
        "browser": seccomp.job_filter(namespaces=True),
    }
