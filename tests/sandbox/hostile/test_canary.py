"""A canary tells what it sees; it is compared with what is allowed at its level. `CANARY=write` writes it down anew."""

import json
import os
from pathlib import Path

import pytest

from tests.sandbox.hostile.bench import HERE, Bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: at the other levels it sees the host itself, and no two are alike
SEALED = ("full", "unprivileged")


async def test_canary(bench: Bench) -> None:
    if bench.level not in SEALED:
        pytest.skip(f"at level {bench.level} it sees the host itself; the table says what of it is open")
    bench.system.script("canary/pumasi.toml", 'network = "none"')
    prelude, canary = ((HERE / "scripts" / name).read_text() for name in ("prelude.py", "canary.py"))
    bench.system.script("canary/main.py", prelude + canary)
    job = await bench.system.run("canary")
    assert job.result is not None, job.error
    seen = json.dumps(json.loads(job.result), indent=1, sort_keys=True) + "\n"
    allowed = Path(HERE / f"canary-{bench.level}.json")
    if os.environ.get("CANARY") == "write":
        allowed.write_text(seen)
    assert seen == allowed.read_text()
