"""Scripts in a slot, without the rest of Pumasi."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from pumasi.core.job import Limits
from pumasi.runner.prepare import INSIDE, Place
from pumasi.runner.scratch import ScratchRoot, remove
from pumasi.sandbox.base import Birth, Ending, Need, in_memory
from pumasi.sandbox.slot import Slot
from pumasi.sandbox.templates import Templates

LIMITS = Limits(memory=256 << 20, cpu=20.0, processes=32, open_files=256, disk=64 << 20)
PYTHONS = {"container": "/usr/bin/python3"}  # one that every user may start


class Slots:
    """Templates of one level, and scripts to run from them."""

    def __init__(self, level: str) -> None:
        self.level = level
        self.folder = Path(tempfile.mkdtemp(prefix="pumasi-test-"))
        self.folder.chmod(0o755)
        self.scratch = ScratchRoot(self.folder / "scratch", "test")
        self.templates = Templates(
            level,
            python=PYTHONS.get(level, sys.executable),
            visible=[],
            cache=self.folder / "cache",
            scratch=self.scratch.folder,
            slots=2,
            memory=512 << 20,
        )
        self._names = itertools.count(1)
        self.warnings: list[str] = []

    def script(self, source: str, **files: str) -> str:
        """Keep a script; its digest."""
        digest = f"{next(self._names):064x}"
        place = self.folder / "cache" / digest / "files"
        place.mkdir(parents=True)
        for name, text in {"main": source, **files}.items():
            (place / f"{name}.py").write_text(text)
        return digest

    async def run(self, source: str, **how: Any) -> tuple[Ending, str]:
        """A script in a slot of its own: how it ended, and what it printed."""
        async with self.slot(how.pop("need", Need())) as slot:
            return await self.in_slot(slot, self.script(source), **how)

    @contextlib.asynccontextmanager
    async def slot(self, need: Need) -> AsyncIterator[Slot]:
        slot = await self.templates.take(need)
        try:
            yield slot
        finally:
            self.templates.give(slot)

    async def in_slot(
        self, slot: Slot, digest: str, *, began: asyncio.Event | None = None, **how: Any
    ) -> tuple[Ending, str]:
        """A script that was kept, in a slot that is held."""
        sealed = self.templates.host.sealed
        limits = how.pop("limits", LIMITS)
        folder = None if sealed else self.scratch.filled(digest, 1, self.folder / "cache" / digest / "files", slot.uid)
        place = INSIDE if folder is None else Place(str(folder), str(folder / "tmp"))
        birth = Birth(
            folder=place.work, home=place.home, source=f"{digest}/files", scratch=str(folder or ""), nice=0,
            limits=in_memory(limits) if sealed else limits, timeout=how.pop("timeout", 20.0),
            grace=how.pop("grace", 0.3), **how,
        )  # fmt: skip
        env = {"PATH": "/usr/bin:/bin", "HOME": place.home, "TMPDIR": place.tmp}
        told = {"mode": "none", "folder": place.work, "entry": f"{place.work}/main.py", "parameters": "{}", "argv": [],
                "env": env, "command": []}  # fmt: skip
        with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as payload:
            payload.write(json.dumps(told).encode())
            payload.seek(0)
            out = printed.fileno()
            slot.begin(birth, [out, out, payload.fileno(), out], lambda what, *_: self.warnings.append(what))
            if began is not None:
                began.set()
            try:
                ending = await slot.ending()
            finally:
                if folder is not None:
                    remove(folder)
            if ending.scratch >= 0:
                os.close(ending.scratch)
            printed.seek(0)
            return ending, printed.read().decode()

    async def close(self) -> None:
        await self.templates.close()
        self.scratch.close()
        shutil.rmtree(self.folder)
