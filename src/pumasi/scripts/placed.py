"""Scripts by their path, below folders that an administrator allows, and nowhere else."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from pumasi.errors import Invalid, ScriptNotFound
from pumasi.scripts.assemble import from_file, from_place
from pumasi.scripts.base import Script
from pumasi.scripts.reader import Reader


class PlacedScripts:
    """The files below some folders. Links may lead from one place below a folder to another, never out of it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    async def resolve(self, path: str) -> Script:
        """The script at an absolute path, with what lies in its folder; without that when it is more than a script
        may have: then with the modules that it imports.

        Raises:
            ScriptNotFound: it is nowhere below the folders.
            Invalid: it cannot be run as it stands.
        """
        return await asyncio.to_thread(self._resolve, path)

    def _resolve(self, path: str) -> Script:
        for folder in self.folders:
            within = os.path.relpath(path, folder) if os.path.isabs(path) else ".."
            if within != ".." and not within.startswith("../") and Reader(folder).is_file(within):
                return self._assembled(folder, within)
        raise ScriptNotFound(
            "there is no file {path} below the folders that this worker runs scripts from ({folders}); "
            "put it there, or add its folder to the setting script_paths (PUMASI_SCRIPT_PATHS)",
            path=path,
            folders=":".join(map(str, self.folders)) or "-",
        )

    def _assembled(self, folder: Path, path: str) -> Script:
        parent, name = os.path.split(path)
        reader = Reader(folder)
        if reader.leads_out(path):
            raise Invalid("{file} is a link that leads out of {folder}", file=path, folder=reader.root)
        try:
            return from_place(reader, parent, name)
        except Invalid:  # perhaps of its neighbours, or of how many they are
            return from_file(Reader(folder / parent), name, name, entry=name)
