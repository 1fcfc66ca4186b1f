"""`pumasi scripts`: what can be submitted."""

import asyncio
from typing import Any

from pumasi.cli import OK
from pumasi.cli.options import Json, Url
from pumasi.cli.output import print_json, print_table, say
from pumasi.locale import gettext as _


def command(json: Json = False, url: Url = None) -> int:
    return asyncio.run(_scripts(as_json=json, url=url))


async def _scripts(*, as_json: bool, url: str | None) -> int:
    import msgspec

    from pumasi.cli.target import connected, load

    settings = load()
    async with connected(settings, url) as client:
        scripts: Any = await client.scripts()
    if as_json:
        print_json([msgspec.structs.asdict(script) for script in scripts])
    elif not scripts:
        say(_("no scripts in {folder}; put NAME.py there").format(folder=settings.scripts))
    else:
        headings = (_("script"), _("version"), _("content"), _("description"))
        print_table(headings, [(s.name, s.version, (s.digest or "")[:12], _about(s)) for s in scripts])
    return OK


def _about(script: Any) -> str:
    if script.error:
        return _("cannot be used: {why}").format(why=script.error)
    return str(script.description)
