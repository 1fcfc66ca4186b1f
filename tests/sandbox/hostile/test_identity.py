"""Scripts that would be somebody else: other names for the same modules, other users, other privileges."""

import pytest

from tests.sandbox.hostile.bench import Bench, said

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_shadowed_modules(bench: Bench) -> None:
    """Modules beside the script are the script's, and never ours."""
    forged = "def dumps(*_, **__): return '\"forged\"'\ndef loads(*_, **__): return {}\n"
    for name in ("json", "os", "socket", "threading", "sitecustomize", "usercustomize", "pumasi", "bootstrap"):
        bench.system.script(f"shadowed/{name}.py", forged + "open('was_here', 'w').close()\n")
    said_so = "['have its own modules run by ours'] if 'was_here' in posix.listdir() else []"
    bench.system.script("shadowed/main.py", f"import posix\ndef main(): return {said_so}")
    job = await bench.system.run("shadowed")
    bench.compare("shadowed modules", job, [*said(job), *bench.left_of(job)])
    await bench.settled()


async def test_privileges(bench: Bench) -> None:
    source = """
def main():
    status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
    can("have a capability", lambda: int(status["CapEff"], 16) | int(status["CapPrm"], 16) != 0)
    can("gain a privilege by an exec", lambda: status["NoNewPrivs"] != "1")
    can("become root", in_child, lambda: os.getuid() != 0 and os.setuid(0))
    can("become another user", in_child, os.setuid, 12345)
    can("leave its groups", in_child, os.setgroups, [0])
    return could
"""
    await bench.row("privileges", source)


async def test_priority(bench: Bench) -> None:
    source = """
def lower(score):
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(score))

def main():
    can("be nicer to itself", os.setpriority, os.PRIO_PROCESS, 0, -20)
    can("run in real time", os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(50))
    can("have its files in real time", call, {"x86_64": 251, "aarch64": 30}[os.uname().machine], 1, 0, 1 << 13 | 4)
    can("be the last to go when memory is short", lower, -1000)
    can("be no sooner to go than the worker when memory is short", lower, 0)
    return could
"""
    await bench.row("priority", source)


async def test_clock(bench: Bench) -> None:
    """No time at all is what is set; the kernel looks at the right to do so first."""
    source = "def main():\n    can('set the clock', call, NUMBERS['settimeofday'], 0, 0)\n    return could"
    await bench.row("clock", source)


async def test_mounts(bench: Bench) -> None:
    source = """
def inside(name, source, kind):
    os.mkdir(name)
    checked(libc.mount(source, name.encode(), kind, 0, None))
    checked(libc.umount2(name.encode(), 2))

def main():
    can("mount", inside, "mounted", b"none", b"tmpfs")
    can("make namespaces", in_child, lambda: checked(libc.unshare(0x20000)))
    can("make a user namespace", in_child, lambda: checked(libc.unshare(0x10000000)))
    can("make a user namespace by clone", lambda: os.waitpid(forked(0x10000011), 0))
    can("change its root", in_child, os.chroot, ".")
    can("make a device", os.mknod, "device", 0o20600, os.makedev(1, 1))
    can("open /dev/mem", lambda: os.close(os.open("/dev/mem", os.O_RDONLY)))
    can("name the host", lambda: checked(libc.sethostname(os.uname().nodename.encode(), len(os.uname().nodename))))
    can("type into a terminal", lambda: allowed(NUMBERS["ioctl"], 0, 0x5412, 0))
    return could

def forked(flags):
    pid = call(NUMBERS["clone"], flags, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    return pid
"""
    await bench.row("mounts", source)
