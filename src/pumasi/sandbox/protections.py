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
    asked = _('level {level} is asked for; isolation = "auto" takes the best there is').format(level=host.level)
    better = "; ".join(f"{level}: {reason}" for level, reason in reasons.items()) or asked

    def row(name: str, on: object, how: str, why_not: str, part: object = None) -> Protection:
        reason = part if isinstance(part, str) else better
        return Protection(name, bool(on), how if on else why_not.format(reason=reason))

    fresh = _("one for each attempt, forked from a template, killed with all it has left")
    yield Protection(_("fresh process"), True, fresh)
    yield row(
        _("own files"),
        host.sealed,
        _("a root of its own: interpreter, libraries and script, read-only"),
        _("it reads what its user may read; {reason}"),
    )
    yield row(
        _("own processes"),
        host.sealed,
        _("process, mount, IPC and host name namespaces"),
        _("it sees the other processes of the host; {reason}"),
    )
    yield row(
        _("own user"),
        host.uids,
        _("each slot has a uid that nobody else has"),
        _("scripts share the worker's user; {reason}"),
        parts.uids,
    )
    version = host.cgroups.version if host.cgroups else 0
    yield row(
        _("limits of the whole tree"),
        host.cgroups,
        _("control groups, version {version}: memory, processes, CPU").format(version=version),
        _("the keeper looks ten times a second and kills; {reason}"),
        parts.cgroups,
    )
    yield Protection(_("limits of a process"), True, _("CPU time, open files, core dumps (rlimits)"))
    yield row(
        _("scratch with a cap"),
        host.sealed,
        _('in memory, with a cap on bytes and files; with scratch = "disk" it is looked at once a second'),
        _("a folder that is looked at once a second"),
    )
    yield row(
        _("no capabilities"),
        host.level != "basic",
        _("none, and none to be had: no_new_privs"),
        _("it has those of the worker's user; {reason}"),
    )
    yield row(_("system call filter"), host.filters, _("seccomp"), "{reason}", parts.filters)
    landlock = _("Landlock, version {version}").format(version=host.landlock)
    yield row(_("file fence"), host.landlock, landlock, "{reason}", parts.landlock)
    yield row(
        _("no network where none is asked for"),
        host.holds_offline,
        _('network = "none" is held to, by a namespace or a filter'),
        _('network = "none" cannot be held to, and is refused; {reason}'),
    )
    open_to = _(
        'open: a script that asks for nothing reaches whatever this host does; its manifest may say network = "none"'
    )
    yield Protection(_("network"), False, open_to)
