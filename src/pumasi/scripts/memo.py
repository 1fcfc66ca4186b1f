"""What was resolved before, as long as nothing it was made of has changed: a submit then costs a few `stat` calls."""

import threading
from collections import OrderedDict

from pumasi.scripts.base import Reference, Script
from pumasi.scripts.paths import MAX_BYTES
from pumasi.scripts.reader import Seal


class Memo:
    """Scripts by reference, each under the seal of its files; those not asked for longest go first when it is full."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Reference, tuple[Seal, Script, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, reference: Reference) -> Script | None:
        """The script that was kept, when resolving anew would give the same."""
        with self._lock:
            kept = self._kept.get(reference)
            if kept is None:
                return None
            self._kept.move_to_end(reference)
        seal, script, _ = kept
        return script if seal.holds() else None

    def put(self, reference: Reference, seal: Seal, script: Script) -> Script:
        """Keep a script; gives it back."""
        size = sum(map(len, script.files.values()))
        with self._lock:
            self._forget(reference)
            self._kept[reference] = (seal, script, size)
            self._bytes += size
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                self._forget(next(iter(self._kept)))
        return script

    def _forget(self, reference: Reference) -> None:
        kept = self._kept.pop(reference, None)
        self._bytes -= kept[2] if kept else 0
