"""`pumasi doctor`: what this machine offers, what is wrong with it, and what protects it from scripts."""

import asyncio
import os
import platform
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pumasi
from pumasi.cli import FAILED, OK
from pumasi.cli.checks import (
    Finding,
    nearest_folder,
    print_findings,
    reach_blobs,
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

if TYPE_CHECKING:
    from pumasi.sandbox.protections import Protection

#: bytes of free disk below which a worker takes no jobs, and below which it is worth saying
_DISK_FLOOR, _DISK_LOW = 256 * 1024 * 1024, 2 * 1024**3

DETAILS = _("Exit code: 0 when nothing is wrong, 1 when something is.")


def command(json: Json = False) -> int:
    settings = load()
    findings, (level, protections) = asyncio.run(_all(settings))
    if json:
        listed = [{"name": row.name, "on": row.on, "why": row.why} for row in protections]
        checks = [finding._asdict() for finding in findings]
        print_json({"version": pumasi.__version__, "checks": checks, "isolation": level, "protections": listed})
    else:
        print_findings(findings)
        write("")
        write(_("isolation: level {level}").format(level=level or _("none")))
        words = {True: _("on"), False: _("off")}
        print_table(
            (_("protection"), "", _("how, or why not")), [(row.name, words[row.on], row.why) for row in protections]
        )
    return OK if level and all(finding.ok is not False for finding in findings) else FAILED


async def _all(settings: Settings) -> "tuple[list[Finding], tuple[str | None, list[Protection]]]":
    return await _findings(settings), await _isolation(settings)


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
        await reach_blobs(settings),
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


async def _isolation(settings: Settings) -> "tuple[str | None, list[Protection]]":
    """The level that a worker would have here, found as a worker finds it: by running a first program."""
    from pumasi.sandbox.protections import Protection, protections
    from pumasi.sandbox.templates import Templates

    with tempfile.TemporaryDirectory(prefix="pumasi-doctor-") as folder:
        os.chmod(folder, 0o711)  # noqa: S103 - the users of slots pass through it
        templates = Templates(
            settings.isolation, python=settings.python, visible=[], cache=Path(folder, "cache"),
            scratch=Path(folder, "scratch"), slots=1, memory=settings.memory_limit,
        )  # fmt: skip
        try:
            await templates.open()
            assert templates.parts is not None
            return templates.level, list(protections(templates.host, templates.parts, templates.reasons))
        except BadSetting as error:
            return None, [Protection(settings.isolation, False, str(error))]
        finally:
            await templates.close()
