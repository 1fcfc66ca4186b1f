"""A canary tells what it sees; it is compared with what is allowed at its level. `CANARY=write` writes it down anew."""

import json
import os
import subprocess
from difflib import unified_diff

import pytest

import pumasi
from pumasi.sandbox.inside import kernel
from tests.sandbox.hostile.bench import HERE, Bench
from tests.sandbox.hostile.test_network import listening

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: where a script has a root of its own, no two machines differ
SEALED = ("full", "unprivileged")
#: of Landlock, from which on it keeps a script from signals and abstract sockets
SCOPED = 6
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


async def test_canary(bench: Bench) -> None:
    """Without a network where it can be held to that."""
    if bench.level == "container" and kernel.landlock_version() < SCOPED:
        pytest.skip("this Landlock does not keep a script from abstract sockets")
    prelude, canary = ((HERE / "scripts" / name).read_text() for name in ("prelude.py", "canary.py"))
    bench.system.script("canary/main.py", prelude + canary)
    if bench.level != "basic":
        bench.system.script("canary/pumasi.toml", 'network = "none"')
    data = bench.system.folder / "data"
    (data / "secret").write_text("token")
    (data / "secret").chmod(0o600)
    (data / "scratch" / "other" / "job").mkdir(parents=True, mode=0o700, exist_ok=True)
    pathname, abstract = bench.system.folder / "socket", f"\0pumasi-canary-{os.getpid()}"
    async with listening(str(pathname)), listening(abstract), listening() as port:
        pathname.chmod(0o777)
        given = {
            "ours": pumasi.__file__,
            "data": str(data),
            "pathname": str(pathname),
            "abstract": abstract,
            "port": port,
        }
        job = await bench.system.run("canary", {"worker": os.getpid(), "namespaces": namespaces(), **given})
    assert job.result is not None, job.error
    seen = json.loads(job.result)
    if bench.level not in SEALED:
        del seen["host"], seen["identity"]["users of its namespace"]
    if bench.level == "basic":  # with the network of the host, and its root's capabilities
        del seen["connects to"]["metadata"], seen["identity"]["capabilities"]
        del seen["identity"]["groups"]
    compare(f"canary-{bench.level}{'' if bench.root else '-user'}.json", seen)


def namespaces() -> dict[str, str]:
    """Of the worker, told by a child: a worker that hides its memory may not read its own folder in /proc either."""
    links = [f"/proc/self/ns/{name}" for name in NAMESPACES]
    done = subprocess.run(["readlink", *links], capture_output=True, text=True, check=True)
    return dict(zip(NAMESPACES, done.stdout.split(), strict=True))


def compare(name: str, seen: object) -> None:
    text = json.dumps(seen, indent=1, sort_keys=True) + "\n"
    if os.environ.get("CANARY") == "write":
        (HERE / name).write_text(text)
    allowed = (HERE / name).read_text()
    difference = "".join(unified_diff(allowed.splitlines(True), text.splitlines(True), f"allowed: {name}", "seen"))
    assert not difference, "\n" + difference
