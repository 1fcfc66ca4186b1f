"""All templates of a worker: which level they are made at, which one a job comes from, when they go.

A blank template, one for each network policy, has imported nothing of anybody's; a script that has nothing to preload
starts from it, and so does one whose own template is not ready, or cannot be. A template with a preload is one script's
alone. Slots go back to their template, and wait there for the next job.
"""

import asyncio
import itertools
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil

from pumasi.core.job import Limits
from pumasi.errors import SandboxFault
from pumasi.locale import gettext as _
from pumasi.log import get_logger
from pumasi.sandbox import level as levels
from pumasi.sandbox.base import Birth, Need
from pumasi.sandbox.slot import Slot
from pumasi.sandbox.template import Host, Template

#: templates at one time, blank ones included; and the share of memory below which one goes before another comes
MAX_TEMPLATES = 16
LEAST_MEMORY = 0.1
#: times that a template may die before its script starts cold
MAX_DEATHS = 3
#: what a trial of a level may use
TRIAL = Limits(memory=64 << 20, cpu=5.0, processes=4, open_files=64, disk=1 << 20)

log = get_logger(__name__)


class Templates:
    """Open from the start of a worker to its end.

    Args:
        isolation: the setting.
        python: the interpreter that runs scripts.
        visible: folders that scripts may read beside the interpreter's.
        cache: where the scripts' files are.
        scratch: where scratch folders on disk are.
        slots: how many jobs run at one time.
        memory: bytes that one template may have.
    """

    def __init__(
        self, isolation: str, *, python: str, visible: list[str], cache: Path, scratch: Path, slots: int, memory: int
    ) -> None:
        self.level = ""
        #: why better levels could not be had
        self.reasons: dict[str, str] = {}
        self.parts: levels.Parts | None = None
        self._chosen: Host | None = None
        self._isolation, self._slots, self._memory = isolation, slots, memory
        self._python, self._visible, self._cache, self._scratch = python, visible, cache, scratch
        self._templates: dict[Need, Template] = {}
        self._making: dict[Need, asyncio.Lock] = {}
        self._owners: dict[Slot, Template] = {}
        self._deaths: dict[Need, int] = {}
        self._numbers = itertools.count(1)
        self._clock = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        #: those that may be given up at any time
        self._preparing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Find the best level that the setting allows. Raises: BadSetting (there is none)."""
        self._cache.mkdir(parents=True, exist_ok=True)
        self._scratch.mkdir(parents=True, exist_ok=True)
        self.parts = await asyncio.to_thread(levels.find)
        for level in levels.candidates(self._isolation):
            reason = levels.missing(level, self.parts) or await self._tried(level)
            if not reason:
                self.level = level
                return
            self.reasons[level] = reason
        await self.close()
        raise levels.refused(self._isolation, self.reasons)

    @property
    def host(self) -> Host:
        """How templates are made here, once it is open."""
        assert self._chosen is not None
        return self._chosen

    async def take(self, need: Need) -> Slot:
        """A slot for a job; it must be given back. Raises: SandboxFault."""
        for last in (False, True):
            template = await self._fitting(need)
            template.asked = next(self._clock)
            while template.idle:
                if (slot := template.idle.pop()).alive:
                    return self._lent(slot, template)
                self._later(template.discard(slot))
            try:
                return self._lent(await template.slot(), template)
            except SandboxFault:
                if last or template.alive:
                    raise
        raise AssertionError

    def give(self, slot: Slot) -> None:
        """A job has ended; a slot that is in order waits for the next."""
        template = self._owners.pop(slot)
        template.busy -= 1
        if slot.alive and template.alive:
            template.idle.append(slot)
            self._trim()
        else:
            self._later(template.discard(slot))

    async def close(self) -> None:
        """All templates, and everything in them."""
        for task in list(self._preparing):
            task.cancel()
        await asyncio.gather(*self._preparing, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(template.close() for template in self._templates.values()))
        self._templates.clear()
        if self.parts is not None:
            await asyncio.to_thread(self.parts.close)
            self.parts = None

    # -- which one ------------------------------------------------------------------------------------------------

    async def _fitting(self, need: Need) -> Template:
        """The script's own template when it is ready; it is prepared beside the run, which starts cold meanwhile."""
        if need.preload:
            own = self._templates.get(need)
            if own is not None and own.unfit == "" and own.alive:
                return own
            if self._may_be_made(need, own):
                self._later(self._prepare(need), self._preparing)
        return await self._made(Need(network=need.network))

    def _may_be_made(self, need: Need, own: Template | None) -> bool:
        if own is None:
            return need not in self._making and self._deaths.get(need, 0) < MAX_DEATHS
        if own.unfit or own.unfit is None:
            return False  # it cannot be, or is on its way
        self._deaths[need] = self._deaths.get(need, 0) + 1
        log.warning("sandbox.template_died", preload=", ".join(need.preload), times=self._deaths[need])
        self._forget(need)
        return self._deaths[need] < MAX_DEATHS

    async def _prepare(self, need: Need) -> None:
        try:
            template = await self._made(need)
            reason = template.unfit
        except SandboxFault as error:
            self._deaths[need] = MAX_DEATHS
            reason = str(error)
        if reason:
            log.warning("sandbox.cold", preload=", ".join(need.preload), reason=reason)

    async def _made(self, need: Need) -> Template:
        """The template of a need, made when it is not there. Raises: SandboxFault."""
        lock = self._making.setdefault(need, asyncio.Lock())
        try:
            async with lock:
                template = self._templates.get(need)
                if template is not None and template.alive:
                    return template
                if template is not None:
                    self._forget(need)
                return await self._make(need)
        finally:
            self._making.pop(need, None)

    async def _make(self, need: Need) -> Template:
        self._make_room()
        template = self._templates[need] = Template(self.host, need, next(self._numbers))
        template.asked = next(self._clock)
        try:
            await template.open()
        except BaseException:
            self._forget(need)
            raise
        return template

    # -- when they go ---------------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """The one that was asked for least lately goes, when there are many, or memory is short."""
        while idle := sorted(
            (template.asked, need) for need, template in self._templates.items() if not template.busy and need.preload
        ):
            memory = psutil.virtual_memory()
            if len(self._templates) < MAX_TEMPLATES and memory.available > LEAST_MEMORY * memory.total:
                return
            self._forget(idle[0][1])

    def _trim(self) -> None:
        """No more idle slots than jobs can run at one time."""
        idle = [template for template in self._templates.values() if template.idle]
        if sum(len(template.idle) for template in idle) > self._slots:
            oldest = min(idle, key=lambda template: template.asked)
            self._later(oldest.discard(oldest.idle.pop(0)))

    def _forget(self, need: Need) -> None:
        self._later(self._templates.pop(need).close())

    def _lent(self, slot: Slot, template: Template) -> Slot:
        template.busy += 1
        self._owners[slot] = template
        return slot

    def _later(self, work: Coroutine[Any, Any, None], among: set[asyncio.Task[None]] | None = None) -> None:
        tasks = self._tasks if among is None else among
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    # -- trying ---------------------------------------------------------------------------------------------------

    async def _tried(self, level: str) -> str:
        """Run a first job at a level; why that did not go well, or nothing."""
        self._chosen = self._made_of(level)
        try:
            slot = await self.take(Need())
            try:
                ending = await self._trial(slot)
            finally:
                self.give(slot)
        except (SandboxFault, OSError) as error:
            for need in list(self._templates):
                await self._templates.pop(need).close()
            return str(error)
        return "" if ending == 0 else _("a first program ended with {code}").format(code=ending)

    async def _trial(self, slot: Slot) -> int | None:
        (self._cache / ".empty").mkdir(exist_ok=True)
        folder = "/home/script" if self.host.sealed else str(self._scratch)
        birth = Birth(folder=folder, home=folder, source=".empty", limits=TRIAL, timeout=10.0, grace=0.0, nice=0,
                      scratch="" if self.host.sealed else folder)  # fmt: skip
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        told = os.memfd_create("trial", os.MFD_CLOEXEC)
        try:
            os.pwrite(told, b'{"env": {}, "command": ["/bin/true"], "argv": []}', 0)
            slot.begin(birth, [null, null, told, null], lambda *_: None)
            ending = await slot.ending()
        finally:
            os.close(null)
            os.close(told)
        if ending.scratch >= 0:
            os.close(ending.scratch)
        return ending.exit_code

    def _made_of(self, level: str) -> Host:
        parts = self.parts
        assert parts is not None
        sealed = level in ("full", "unprivileged")
        filters = {} if level == "basic" or isinstance(parts.filters, str) else parts.filters
        landlock = 0 if level == "basic" or isinstance(parts.landlock, str) else parts.landlock
        uids = None if level == "basic" or isinstance(parts.uids, str) else parts.uids
        # what is not promised is not half done: cgroups belong to full, and to unprivileged where they were delegated
        delegated = level == "full" or (level == "unprivileged" and uids is None)
        cgroups = None if isinstance(parts.cgroups, str) or not delegated else parts.cgroups
        return Host(
            level=level, python=self._python, visible=self._visible, cache=str(self._cache), scratch=str(self._scratch),
            sealed=sealed, landlock=landlock, filters=filters, uids=uids, cgroups=cgroups, memory=self._memory,
        )  # fmt: skip
