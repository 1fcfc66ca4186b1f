"""Checks of what is outside of this program: folders, brokers, gateways. Each is a finding; none raises."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pumasi.cli.output import print_table
from pumasi.cli.target import target
from pumasi.config import Settings
from pumasi.errors import Error
from pumasi.locale import gettext as _
from pumasi.masking import mask
from pumasi.tokenfile import running

#: seconds a connection may take
PATIENCE = 5.0
#: file systems whose locks or crashes SQLite cannot rely on
_REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.glusterfs"})


class Finding(NamedTuple):
    """What was looked at, whether it will do, and what was seen. `ok` None: worth knowing, nothing to mend."""

    what: str
    ok: bool | None
    seen: str


def print_findings(findings: Iterable[Finding]) -> None:
    """A table of findings."""
    words = {True: _("ok"), False: _("problem"), None: _("note")}
    print_table((_("check"), "", _("seen")), [(f.what, words[f.ok], f.seen) for f in findings])


def usable_folder(what: str, folder: Path) -> Finding:
    """Whether we may write there, or may make it."""
    near = nearest_folder(folder)
    if folder.exists() and not folder.is_dir():
        return Finding(what, False, _("{path} is no folder").format(path=folder))
    if not os.access(near, os.W_OK | os.X_OK):
        return Finding(what, False, _("{path} cannot be written to").format(path=near))
    kind = file_system(near)
    if kind in _REMOTE:
        text = _("{path} is on {kind}, a network file system: keep the embedded broker on a local disk")
        return Finding(what, False, text.format(path=folder, kind=kind))
    text = _("{path} ({kind}); it is made when it is needed") if near != folder else "{path} ({kind})"
    return Finding(what, True, text.format(path=folder, kind=kind or "?"))


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def file_system(path: Path) -> str | None:
    """The type of file system a path is on, as the kernel names it."""
    real = os.path.realpath(path)
    best, kind = "", None
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                _device, point, name, *_rest = line.split(" ")
                point = point.replace("\\040", " ")
                if len(point) >= len(best) and (real == point or real.startswith(point.rstrip("/") + "/")):
                    best, kind = point, name
    except (OSError, ValueError):
        return None
    return kind


async def reach_broker(settings: Settings) -> Finding:
    """Whether the broker of the settings can be opened; an embedded one that is not there yet is not made."""
    import asyncio

    from pumasi.broker import connect

    what, shown = _("broker"), f"{mask(settings.broker_url)} ({settings.broker_why})"
    try:
        file = settings.data_dir / "pumasi.db"
        if settings.broker_url.startswith(f"sqlite:///{file}") and not file.exists():
            return Finding(what, True, _("{broker}; it is made when it is needed").format(broker=shown))
        async with asyncio.timeout(PATIENCE), connect(settings.broker_url) as broker:
            await broker.queues()
            concerns = broker.concerns()
    except Error as error:
        return Finding(what, False, f"{shown}: {error}")
    except TimeoutError:
        return Finding(what, False, _("{broker} did not answer").format(broker=shown))
    return Finding(what, None if concerns else True, "; ".join([shown, *map(str, concerns)]))


async def reach_blobs(settings: Settings) -> Finding:
    """Whether the place for blobs can be used; a folder that is not there yet is not made."""
    from pumasi.broker.places import place
    from pumasi.broker.places.folder import FolderPlace
    from pumasi.broker.places.outside import Outside

    what = _("blobs")
    if not settings.blobs:
        return Finding(what, True, _("in the broker's store"))
    try:
        chosen = place(settings.blobs)
        if isinstance(chosen, FolderPlace) and chosen.may_be_made:
            return Finding(what, True, _("{path}; it is made when it is needed").format(path=chosen.name))
        outside = Outside(chosen)
        try:
            await outside.check()
        finally:
            await outside.close()
    except Error as error:
        return Finding(what, False, str(error))
    return Finding(what, True, chosen.name)


async def reach_gateway(settings: Settings) -> Finding:
    """Whether the gateway answers: the one set, else one that runs on this data folder."""
    import httpx2

    what, told = _("gateway"), running(settings.token_file)
    url = settings.url if settings.url and settings.url.startswith("http") else told and told.url
    if not url:
        return Finding(what, None, _("none runs on this data folder"))
    try:
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            token = target(settings, url)[1]
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = await client.get(f"{url.rstrip('/')}/readyz", headers=headers)
    except httpx2.HTTPError as error:
        return Finding(what, False, _("{url} did not answer: {reason}").format(url=mask(url), reason=str(error)))
    return Finding(what, answer.status_code == 200, f"{mask(url)}: HTTP {answer.status_code}")
