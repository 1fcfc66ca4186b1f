"""The system call filters: by an interpreter of their instructions for all machines, by the kernel for this."""

import errno
import platform
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pumasi.sandbox import seccomp

NUMBERS = seccomp.NUMBERS
MACHINES = sorted(NUMBERS)
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
FOREIGN = {"x86_64": 0x40000003, "aarch64": 0x40000028}  # i386, arm
CLONE_NEW = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000,
    "net": 0x40000000, "time": 0x80,
}  # fmt: skip
THREAD = 0x3D0F00  # the flags of pthread_create
PRELUDE = """
import ctypes, errno, os, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
def call(number, *arguments):
    ctypes.set_errno(0)
    value = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return errno.errorcode[ctypes.get_errno()] if value == -1 else "ok"
libc.prctl(38, 1, 0, 0, 0)
def install(program):
    assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0, ctypes.get_errno()
for program in sys.argv[1:]:
    install(bytes.fromhex(program))
"""

live = pytest.mark.skipif(not seccomp.supported() or seccomp.probe() is not None, reason="no seccomp filters here")


def answer(program: bytes, machine: str, number: int, *arguments: int, arch: int | None = None) -> str:
    """What the kernel would answer: an interpreter of classic BPF, as far as the filters use it."""
    arguments = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, arch or seccomp.AUDIT_ARCH[machine], 0, *arguments)
    ops = list(struct.iter_unpack("<HBBI", program))
    at = value = 0
    while True:
        code, then, other, k = ops[at]
        at += 1
        match code:
            case 0x20:
                (value,) = struct.unpack_from("<I", data, k)
            case 0x54:
                value &= k
            case 0x06:
                return verdict(k)
            case _:
                test = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[code]
                at += then if test else other


def verdict(value: int) -> str:
    return {0x7FFF0000: "allow", 0x80000000: "kill"}.get(value) or errno.errorcode[value ^ 0x50000]


def expected(calls: Mapping[str, str], numbers: Mapping[str, int]) -> dict[int, str]:
    """Number -> answer, of the calls that are denied whatever their arguments."""
    denied = {name: error for error, names in calls.items() if error.isupper() for name in names.split()}
    return {numbers[name]: error for name, error in denied.items() if name in numbers}


def run(code: str, *programs: bytes) -> subprocess.CompletedProcess[str]:
    """Run code under the filters, in a session of its own (one of the calls would hang a terminal up)."""
    argv = [sys.executable, "-I", "-S", "-c", PRELUDE + code, *(program.hex() for program in programs)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, start_new_session=True, check=False)


def says(code: str, *programs: bytes) -> str:
    done = run(code, *programs)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def both(namespaces: bool = False) -> tuple[bytes, bytes]:
    return seccomp.slot_filter(), seccomp.job_filter(namespaces=namespaces)


# by the interpreter


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("network", [True, False])
def test_slot_filter_denies_its_table_and_nothing_else(machine: str, network: bool) -> None:
    program = seccomp.slot_filter(network=network, machine=machine)
    denied = expected(seccomp.SLOT, NUMBERS[machine])
    checked = {NUMBERS[machine][name] for name in ("socket", "socketpair", "ioctl")}
    for number in {*range(2048), 0x3FFFFFFF} - checked:
        assert answer(program, machine, number) == denied.get(number, "allow"), number


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("namespaces", [True, False])
def test_job_filter_denies_its_table_and_nothing_else(machine: str, namespaces: bool) -> None:
    program = seccomp.job_filter(namespaces=namespaces, machine=machine)
    denied = expected(seccomp.JOB_WITH_NAMESPACES if namespaces else seccomp.JOB, NUMBERS[machine])
    for number in {*range(2048), 0x3FFFFFFF}:
        assert answer(program, machine, number) == denied.get(number, "allow"), number


@pytest.mark.parametrize("machine", MACHINES)
def test_keeper_can_still_set_a_job_up(machine: str) -> None:
    program = seccomp.slot_filter(machine=machine)
    names = " ".join(seccomp.JOB.values()).split()
    assert {answer(program, machine, NUMBERS[machine][name]) for name in names} == {"allow"}


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_by_a_foreign_table(machine: str) -> None:
    program = seccomp.slot_filter(machine=machine)
    for number in range(512):
        assert answer(program, machine, number, arch=FOREIGN[machine]) == "kill"
    others = [arch for name, arch in seccomp.AUDIT_ARCH.items() if name != machine]
    assert {answer(program, machine, 0, arch=arch) for arch in others} == {"kill"}
    x32 = {answer(program, machine, 0x40000000 | number) for number in range(1024)}
    assert x32 == ({"ENOSYS"} if machine == "x86_64" else {"allow"})


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("arguments", "with_network", "without"),
    [
        ((1, 1, 0), "allow", "allow"),
        ((1, 5 | 0o2004000, 0), "allow", "allow"),  # AF_UNIX SOCK_SEQPACKET, CLOEXEC and NONBLOCK
        ((2, 1, 6), "allow", "EACCES"),
        ((10, 2 | 0o2000000, 17), "allow", "EACCES"),
        ((2, 3, 1), "EPERM", "EACCES"),  # raw
        ((10, 3 | 0o2004000, 58), "EPERM", "EACCES"),
        ((2, 10, 0x300), "EPERM", "EACCES"),  # SOCK_PACKET: the kernel makes it AF_PACKET
        ((16, 3, 0), "allow", "EACCES"),
        ((16, 3, 15), "EAFNOSUPPORT", "EACCES"),  # netlink: uevent
        ((17, 3, 0), "EAFNOSUPPORT", "EAFNOSUPPORT"),  # packet
        ((31, 3, 1), "EAFNOSUPPORT", "EAFNOSUPPORT"),  # bluetooth
        ((38, 5, 0), "EAFNOSUPPORT", "EAFNOSUPPORT"),  # alg
        ((40, 1, 0), "EAFNOSUPPORT", "EAFNOSUPPORT"),  # vsock
        ((0, 1, 0), "EAFNOSUPPORT", "EAFNOSUPPORT"),
    ],
)
def test_sockets(machine: str, arguments: tuple[int, ...], with_network: str, without: str) -> None:
    number = NUMBERS[machine]["socket"]
    for network, wanted in ((True, with_network), (False, without)):
        program = seccomp.slot_filter(network=network, machine=machine)
        assert answer(program, machine, number, *arguments) == wanted
        garbage = (argument | 0xDEAD << 32 for argument in arguments)
        assert answer(program, machine, number, *garbage) == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_are_compared_by_what_the_kernel_reads(machine: str) -> None:
    program, numbers = seccomp.slot_filter(machine=machine), NUMBERS[machine]
    for request, wanted in ((0x5412, "EPERM"), (0x541C, "EPERM"), (0x5413, "allow"), (0x5401, "allow")):
        assert answer(program, machine, numbers["ioctl"], 0, request) == wanted
        assert answer(program, machine, numbers["ioctl"], 0, request | 1 << 32) == wanted
    for family, wanted in ((1, "allow"), (1 | 1 << 32, "allow"), (2, "EAFNOSUPPORT"), (30, "EAFNOSUPPORT")):
        assert answer(program, machine, numbers["socketpair"], family, 1, 0) == wanted


@pytest.mark.parametrize("machine", MACHINES)
def test_new_namespaces(machine: str) -> None:
    clone, unshare = NUMBERS[machine]["clone"], NUMBERS[machine]["unshare"]
    strict, browser = (seccomp.job_filter(namespaces=some, machine=machine) for some in (False, True))
    for program in (strict, browser):
        assert {answer(program, machine, clone, flags) for flags in (THREAD, 17, 0x4111, 0x1200011)} == {"allow"}
    assert answer(strict, machine, unshare, 0) == "EPERM"
    for name, flag in CLONE_NEW.items():
        inside = "EPERM" if name in ("cgroup", "time") else "allow"
        for flags in (flag, flag | 17, flag | 1 << 40):
            assert answer(strict, machine, clone, flags) == "EPERM", name
            assert answer(browser, machine, clone, flags) == inside, name
            assert answer(browser, machine, unshare, flags) == inside, name


@pytest.mark.parametrize("machine", MACHINES)
def test_programs_are_short(machine: str) -> None:
    jobs = [seccomp.job_filter(namespaces=some, machine=machine) for some in (False, True)]
    assert all(len(program) // 8 < 30 for program in jobs)
    assert len(seccomp.slot_filter(machine=machine)) // 8 < 100


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_those_of_the_kernel_headers(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("no kernel headers here")
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", HEADERS[machine].read_text(), re.MULTILINE)
    theirs = {name: int(number) for name, number in found}
    assert len(theirs) > 300
    ours = {name: number for name, number in NUMBERS[machine].items() if name in theirs}
    assert ours == {name: theirs[name] for name in ours}
    assert set(NUMBERS[machine]) - set(ours) <= set(seccomp.EVERYWHERE)  # newer than these headers


def test_every_call_of_the_tables_has_a_number() -> None:
    tables = (seccomp.SLOT, seccomp.JOB, seccomp.JOB_WITH_NAMESPACES)
    named = {name for table in tables for names in table.values() for name in names.split()}
    assert named == set(NUMBERS["x86_64"])
    assert named - set(NUMBERS["aarch64"]) == {"iopl", "ioperm"}


def test_another_machine_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert not seccomp.supported()
    assert "riscv64" in (seccomp.probe() or "")
    for make in (seccomp.slot_filter, seccomp.job_filter):
        with pytest.raises(ValueError, match="riscv64"):
            make()


# by the kernel


@live
def test_kernel_denies_every_call_of_the_tables() -> None:
    numbers = NUMBERS[platform.machine()]
    wanted = expected(seccomp.SLOT, numbers) | expected(seccomp.JOB, numbers)
    code = "for number in {}: print(number, call(number, *[-1] * 6))"
    lines = says(code.format(sorted(wanted)), *both()).splitlines()
    assert dict(line.split() for line in lines) == {str(number): error for number, error in wanted.items()}


@live
def test_kernel_checks_arguments() -> None:
    code = """
import socket
def opened(*arguments):
    try:
        with socket.socket(*arguments):
            return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
print(opened(1, 1), opened(2, 1), opened(16, 3, 0), opened(2, 3, 1), opened(16, 3, 15), opened(17, 3), opened(38, 5))
libc.ioctl.argtypes = ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p
for request in 0x5412, 0x100005412, 0x541C, 0x5413:
    print(libc.ioctl(-1, request, 0), errno.errorcode[ctypes.get_errno()])
"""
    families, *requests = says(code, *both()).splitlines()
    assert families == "ok ok ok EPERM EAFNOSUPPORT EAFNOSUPPORT EAFNOSUPPORT"
    assert requests == ["-1 EPERM"] * 3 + ["-1 EBADF"]
    families, *_ = says(code, seccomp.slot_filter(network=False)).splitlines()
    assert families == "ok EACCES EACCES EACCES EACCES EAFNOSUPPORT EAFNOSUPPORT"


ORDINARY = {
    "threads": """
import threading
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(seen) == list(range(8))""",
    "subprocess": """
import subprocess
assert subprocess.run(["/bin/sh", "-c", "echo a | cat"], capture_output=True).stdout == b"a\\n"
assert subprocess.run(["/bin/true"], close_fds=False, start_new_session=True).returncode == 0
assert os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1] == 0""",
    "loopback": """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    with server.accept()[0] as accepted:
        client.sendall(b"a")
        assert accepted.recv(1) == b"a" """,
    "names": """
import socket
assert socket.getaddrinfo("localhost", 80)
assert socket.if_nameindex() is not None""",
    "multiprocessing": """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]""",
    "asyncio": """
import asyncio
async def main():
    process = await asyncio.create_subprocess_exec("/bin/echo", "a", stdout=-1)
    assert (await process.communicate())[0] == b"a\\n"
    assert await asyncio.to_thread(abs, -1) == 1
asyncio.run(main())""",
    "files": """
import shutil, tempfile
with tempfile.TemporaryDirectory() as folder:
    shutil.copy("/proc/self/status", folder + "/a")
    os.close(os.memfd_create("a"))
    os.close(os.pidfd_open(os.getpid()))""",
}


@live
@pytest.mark.parametrize("what", ORDINARY)
@pytest.mark.parametrize("namespaces", [True, False])
def test_ordinary_things_work(what: str, namespaces: bool) -> None:
    says(ORDINARY[what], *both(namespaces=namespaces))


@live
def test_kernel_refuses_x32() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("x32 is of x86_64")
    assert says("print(call(39), call(0x40000000 | 39))", *both()) == "ok ENOSYS"


@live
def test_kernel_kills_a_call_by_the_i386_table() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("i386 is of x86_64")
    code = """
import mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
assert ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()
"""
    if run(code).returncode != 0:
        pytest.skip("this kernel has no i386 calls")
    assert run(code, seccomp.slot_filter()).returncode == -signal.SIGSYS
    assert run(code, *both()).returncode == -signal.SIGSYS


@live
def test_new_user_namespaces_for_browsers_only() -> None:
    numbers = NUMBERS[platform.machine()]
    code = f"""
pid = libc.syscall({numbers["clone"]}, ctypes.c_long(0x10000011), 0, 0, 0, 0)
if pid == 0:
    os._exit(call({numbers["unshare"]}, 0x20000) != "ok" or call({numbers["mount"]}, -1, -1, -1, 0, -1) != "EPERM")
print(errno.errorcode[ctypes.get_errno()] if pid == -1 else os.waitpid(pid, 0)[1])
print(call({numbers["unshare"]}, 0x10000000), call({numbers["clone3"]}, -1, -1))
"""
    assert says(code, *both()).splitlines() == ["EPERM", "EPERM ENOSYS"]
    if run(code).stdout.startswith("E"):
        pytest.skip("this host offers no user namespaces")
    assert says(code, *both(namespaces=True)).splitlines() == ["0", "ok ENOSYS"]


@live
def test_keeper_sets_a_job_up_below_its_slot_filter() -> None:
    numbers = NUMBERS[platform.machine()]
    code = f"""
import socket
pid = os.fork()
if pid == 0:
    steps = [call({numbers["unshare"]}, 0x10020000)]
    steps.append("ok" if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else "mount")
    steps.append(call({numbers["fsopen"]}, ctypes.cast(b"tmpfs", ctypes.c_void_p).value, 0))
    steps.append("ok" if libc.umount2(b"/tmp", 2) == 0 else "umount")
    install({seccomp.job_filter()!r})
    steps.append(call({numbers["fsopen"]}, ctypes.cast(b"tmpfs", ctypes.c_void_p).value, 0))
    print(*steps, flush=True)
    os._exit(0)
os.waitid(os.P_PIDFD, os.pidfd_open(pid), os.WEXITED)
socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0].close()
"""
    unfiltered = says(code.replace("install", "len"))
    if unfiltered != "ok ok ok ok ok":
        pytest.skip("this host offers no user and mount namespaces")
    assert says(code, seccomp.slot_filter()) == "ok ok ok ok EPERM"


@live
def test_probe_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seccomp.probe() is None
    allow = struct.pack("<HBBI", 0x06, 0, 0, 0x7FFF0000)
    for program, reason in ((b"", "errno 22"), (allow, "does nothing")):
        monkeypatch.setattr(seccomp, "slot_filter", lambda program=program: program)
        assert reason in (seccomp.probe() or "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "/nowhere/python" in (seccomp.probe() or "")
