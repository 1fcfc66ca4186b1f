"""What protects a host from its scripts: each protection, whether it is on here, and how, or why not and what to do."""

from collections.abc import Iterator

from msgspec import Struct

from pumasi.locale import gettext as _
from pumasi.sandbox.level import Parts
from pumasi.sandbox.template import Host


class Protection(Struct, frozen=True):
    """A row of the table that `doctor` shows."""

    name: str
    on: bool
    #: how it is done, or why it is not, and what would turn it on
    why: str


def protections(host: Host, parts: Parts, reasons: dict[str, str]) -> Iterator[Protection]:
    """Of the level that was chosen. `reasons`: why better levels could not be had."""
    better = "; ".join(f"{level}: {reason}" for level, reason in reasons.items())
    fresh = _("one for each attempt, forked from a template, killed with all it has left")
    yield Protection(_("fresh process"), True, fresh)
    yield Protection(
        _("own files"),
        host.sealed,
        _("a root of its own: interpreter, libraries and script, read-only")
        if host.sealed
        else _("it reads what its user may read; {reason}").format(reason=better),
    )
    yield Protection(
        _("own processes"),
        host.sealed,
        _("process, mount, IPC and host name namespaces")
        if host.sealed
        else _("it sees the other processes of the host; {reason}").format(reason=better),
    )
    yield Protection(
        _("own user"),
        host.uids is not None,
        _("each slot has a uid that nobody else has")
        if host.uids is not None
        else _("scripts share the worker's user; {reason}").format(reason=_reason(parts.uids, better)),
    )
    yield Protection(
        _("limits of the whole tree"),
        host.cgroups is not None,
        _("control groups, version {version}: memory, processes, CPU").format(version=host.cgroups.version)
        if host.cgroups is not None
        else _("the keeper looks ten times a second and kills; {reason}").format(reason=_reason(parts.cgroups, better)),
    )
    yield Protection(_("limits of a process"), True, _("CPU time, open files, core dumps (rlimits)"))
    yield Protection(
        _("scratch with a cap"),
        host.sealed,
        _('in memory, with a cap on bytes and files; with scratch = "disk" it is looked at once a second')
        if host.sealed
        else _("a folder that is looked at once a second"),
    )
    yield Protection(
        _("no capabilities"),
        host.level != "basic",
        _("none, and none to be had: no_new_privs")
        if host.level != "basic"
        else _("it has those of the worker's user; {reason}").format(reason=better),
    )
    yield Protection(
        _("system call filter"),
        bool(host.filters),
        _("seccomp") if host.filters else _reason(parts.filters, better),
    )
    yield Protection(
        _("file fence"),
        bool(host.landlock),
        _("Landlock, version {version}").format(version=host.landlock)
        if host.landlock
        else _reason(parts.landlock, better),
    )
    yield Protection(
        _("no network where none is asked for"),
        host.holds_offline,
        _('network = "none" is held to, by a namespace or a filter')
        if host.holds_offline
        else _('network = "none" cannot be held to, and is refused; {reason}').format(reason=better),
    )
    text = (
        'open: a script that asks for nothing reaches whatever this host reaches; say network = "none" in its manifest'
    )
    yield Protection(_("network"), False, _(text))


def _reason(part: object, better: str) -> str:
    return part if isinstance(part, str) else better
