"""`pumasi config`: each setting, and where it came from; `--check` also tries what the settings point at."""

import asyncio
import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pumasi.cli import FAILED, OK
from pumasi.cli.checks import Finding, print_findings, reach_blobs, reach_broker, reach_gateway, usable_folder
from pumasi.cli.options import Json
from pumasi.cli.output import print_facts, print_json, print_table, write
from pumasi.cli.target import load
from pumasi.config import Settings, aliases, is_secret
from pumasi.locale import gettext as _
from pumasi.masking import HIDDEN, mask
from pumasi.units import format_size

DETAILS = _(
    "The order is flag, environment, .env, file (pumasi.settings.toml, or the one PUMASI_CONFIG names), default. "
    "The setting slots is PUMASI_SLOTS in the environment."
)
_SIZES = ("memory", "memory_limit", "disk_limit", "output_limit", "result_limit", "full_log_limit", "required_memory")


def command(
    check: Annotated[bool, typer.Option("--check", help=_("Also try the connections."))] = False, json: Json = False
) -> int:
    settings = load()
    if not json:
        headings = (_("setting"), _("value"), _("from"), _("meaning"))
        print_table(headings, [(n, v, settings.origin(n), _meaning(n)) for n, v in _values(settings)])
        write("")
        print_facts([(_("broker used"), f"{mask(settings.broker_url)} ({settings.broker_why})")])
    findings = asyncio.run(_tried(settings)) if check else []
    if json:
        print_json(_view(settings) | ({"checks": [finding._asdict() for finding in findings]} if check else {}))
    elif check:
        write("")
        print_findings(findings)
    return OK if all(finding.ok is not False for finding in findings) else FAILED


async def _tried(settings: Settings) -> list[Finding]:
    return [
        usable_folder(_("data folder"), settings.data_dir),
        _scripts(settings),
        _interpreter(settings),
        await reach_broker(settings),
        await reach_blobs(settings),
        await reach_gateway(settings),
    ]


def _scripts(settings: Settings) -> Finding:
    if settings.scripts.is_dir():
        return Finding(_("scripts folder"), True, str(settings.scripts))
    text = _("{path} is no folder; make it, or set PUMASI_SCRIPTS")
    return Finding(_("scripts folder"), False, text.format(path=settings.scripts))


def _interpreter(settings: Settings) -> Finding:
    found = os.access(settings.python, os.X_OK)
    text = settings.python if found else _("{path} is no program; set PUMASI_PYTHON").format(path=settings.python)
    return Finding(_("Python of scripts"), found, text)


def _values(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in Settings.model_fields:
        yield name, _shown(name, getattr(settings, name))


def _shown(name: str, value: Any) -> str:
    if value is None or value == ():
        return "-"
    if is_secret(name):
        return HIDDEN
    if name in _SIZES:
        return format_size(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else mask(str(value))


def _meaning(name: str) -> str:
    return _(Settings.model_fields[name].description or "")


def _view(settings: Settings) -> dict[str, Any]:
    values = {
        name: {
            "value": _plain(name, getattr(settings, name)),
            "origin": settings.origin(name),
            "environment": [f"PUMASI_{name.upper()}", *aliases(name)],
        }
        for name in Settings.model_fields
    }
    return {"settings": values, "broker_url": mask(settings.broker_url), "broker_why": settings.broker_why}


def _plain(name: str, value: Any) -> Any:
    if is_secret(name):
        return None if value is None else HIDDEN
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, (bool, int, float)) else mask(str(value))
