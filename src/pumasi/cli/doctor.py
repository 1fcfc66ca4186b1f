"""`pumasi doctor`: what this machine offers, what is wrong with it, and what protects it from scripts."""

import asyncio
import os
import platform
import shutil
import stat
import sys

import pumasi
from pumasi.cli import FAILED, OK
from pumasi.cli.checks import (
    Finding,
    nearest_folder,
    print_findings,
    reach_broker,
    reach_gateway,
    usable_folder,
)
from pumasi.cli.options import Json
from pumasi.cli.output import print_json, print_table, write
from pumasi.cli.target import load
from pumasi.config import Settings
from pumasi.errors import BadSetting
from pumasi.locale import gettext as _
from pumasi.units import format_size

#: bytes of free disk below which a worker takes no jobs, and below which it is worth saying
_DISK_FLOOR, _DISK_LOW = 256 * 1024 * 1024, 2 * 1024**3

DETAILS = _("Exit code: 0 when nothing is wrong, 1 when something is.")


def command(json: Json = False) -> int:
    settings = load()
    findings = asyncio.run(_findings(settings))
    level, protections = _isolation(settings)
    if json:
        listed = [{"name": name, "on": on, "why": why} for name, on, why in protections]
        checks = [finding._asdict() for finding in findings]
        print_json({"version": pumasi.__version__, "checks": checks, "isolation": level, "protections": listed})
    else:
        print_findings(findings)
        write("")
        write(_("isolation: level {level}").format(level=level or _("none")))
        words = {True: _("on"), False: _("off")}
        print_table(
            (_("protection"), "", _("how, or why not")), [(_(n), words[on], _(why)) for n, on, why in protections]
        )
    return OK if all(finding.ok is not False for finding in findings) else FAILED


async def _findings(settings: Settings) -> list[Finding]:
    return [
        _python(),
        _sqlite(),
        usable_folder(_("data folder"), settings.data_dir),
        _disk(settings),
        _memory(settings),
        _scripts(settings),
        _access(settings),
        _token_file(settings),
        await reach_broker(settings),
        await reach_gateway(settings),
    ]


def _python() -> Finding:
    seen = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    return Finding("Python", sys.version_info >= (3, 11), seen)


def _sqlite() -> Finding:
    import apsw

    return Finding("SQLite", True, _("{version}, bundled").format(version=apsw.sqlite_lib_version()))


def _disk(settings: Settings) -> Finding:
    free = shutil.disk_usage(nearest_folder(settings.data_dir)).free
    if free < _DISK_FLOOR:
        text = _("{size} free; a worker takes no jobs below {floor}")
        return Finding(_("disk"), False, text.format(size=format_size(free), floor=format_size(_DISK_FLOOR)))
    return Finding(_("disk"), True if free >= _DISK_LOW else None, _("{size} free").format(size=format_size(free)))


def _memory(settings: Settings) -> Finding:
    import psutil

    free = psutil.virtual_memory().available
    needed = settings.slots * settings.memory_limit
    if free >= needed:
        return Finding(_("memory"), True, _("{size} free").format(size=format_size(free)))
    text = _("{size} free; {slots} slots may use up to {needed}")
    seen = text.format(size=format_size(free), slots=settings.slots, needed=format_size(needed))
    return Finding(_("memory"), None, seen)


def _scripts(settings: Settings) -> Finding:
    if settings.scripts.is_dir():
        return Finding(_("scripts folder"), True, str(settings.scripts))
    text = _("{path} is no folder; make it, or set PUMASI_SCRIPTS")
    return Finding(_("scripts folder"), None, text.format(path=settings.scripts))


def _access(settings: Settings) -> Finding:
    if settings.open_access:
        return Finding(_("access"), None, _("open: whoever reaches the gateway on this machine may run scripts"))
    return Finding(_("access"), True, _("a bearer token is asked for"))


def _token_file(settings: Settings) -> Finding:
    what = _("token file")
    try:
        found = os.lstat(settings.token_file)
    except FileNotFoundError:
        return Finding(what, True, _("{path} is written when a gateway starts").format(path=settings.token_file))
    except OSError as error:
        return Finding(what, False, f"{settings.token_file}: {error.strerror}")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        text = _("{path} has mode {mode:04o}: others can read it; chmod 600 it")
        return Finding(what, False, text.format(path=settings.token_file, mode=mode))
    return Finding(what, True, _("{path}, mode {mode:04o}").format(path=settings.token_file, mode=mode))


def _isolation(settings: Settings) -> tuple[str | None, list[tuple[str, bool, str]]]:
    from pumasi.sandbox.level import BASIC, choose

    try:
        level = choose(settings.isolation)
    except BadSetting as error:
        return None, [(settings.isolation, False, str(error))]
    return level, [(row.name, row.on, row.why) for row in BASIC]
