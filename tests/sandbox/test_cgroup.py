"""Control groups hold real processes to their limits, count what they use, and go without a trace."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pumasi.sandbox import cgroup
from pumasi.sandbox.cgroup import V1, V2, Cgroups, Group, NoCgroups, locate, settle

MB = 1024 * 1024


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    found = Cgroups.probe()
    if isinstance(found, str):
        if os.environ.get("CI") and os.geteuid() == 0 and offered():
            pytest.fail(found)
        pytest.skip(found)
    yield found
    found.close()


@pytest.fixture
def group(cgroups: Cgroups) -> Group:
    return cgroups.group("slot-1")


def offered() -> bool:
    try:
        locate(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except NoCgroups:
        return False
    return True


def run(group: Group, code: str) -> tuple[int, str]:
    """Run code in the group: it waits at a pipe until it has been attached."""
    child = start(group, code)
    out, _ = child.communicate()
    return child.returncode, out


def start(group: Group, code: str) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.readline()\n" + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    group.attach(child.pid)
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    return child


def folders_left(cgroups: Cgroups) -> list[str]:
    return [folder for folder in cgroups._folders.values() if os.path.exists(folder)]


FORKS = """
import os, time
made = 0
for _ in range(20):
    try:
        if os.fork() == 0:
            sys.stdin.read()
            os._exit(0)
        made += 1
    except OSError:
        pass
print(made, flush=True)
"""
HOLD = "b = bytearray({} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"


# -- for real ------------------------------------------------------------------------------------------------------


def test_more_memory_than_allowed_is_killed_and_counted(group: Group) -> None:
    group.begin(memory=48 * MB, processes=None)
    code, _ = run(group, HOLD.format(200))
    usage = group.usage()
    assert code == -signal.SIGKILL
    assert usage.oom_kills == 1
    assert usage.memory is None or 44 * MB <= usage.memory <= 48 * MB


def test_forks_beyond_the_limit_are_refused_and_counted(group: Group) -> None:
    group.begin(memory=None, processes=5)
    code, out = run(group, FORKS)
    usage = group.usage()
    assert (code, out.strip()) == (0, "4")
    assert usage.refused_forks >= 1
    assert usage.processes in (None, 5)
    assert group.kill()


def test_cpu_is_counted(group: Group) -> None:
    group.begin(memory=None, processes=None)
    run(group, "import time\nwhile time.process_time() < 0.3: pass")
    cpu = group.usage().cpu
    assert cpu is None or cpu >= 0.25


def test_begin_starts_to_count_anew(group: Group) -> None:
    group.begin(memory=48 * MB, processes=5)
    run(group, HOLD.format(200))
    run(group, FORKS)
    group.kill()
    group.begin(memory=200 * MB, processes=50)
    fresh = group.usage()
    assert (fresh.oom_kills, fresh.refused_forks, fresh.processes) == (0, 0, None)
    assert (fresh.cpu or 0) < 0.1
    assert (fresh.memory or 0) < 30 * MB
    code, _ = run(group, HOLD.format(100))
    usage = group.usage()
    assert (code, usage.oom_kills) == (0, 0)
    assert usage.memory is None or usage.memory >= 100 * MB


def test_limits_go_up_and_down_and_away(group: Group) -> None:
    for memory in (64 * MB, 256 * MB, 32 * MB, None, 128 * MB, None):
        group.begin(memory=memory, processes=None)
        code, _ = run(group, HOLD.format(90))
        assert (code == 0) == (memory is None or memory > 100 * MB), memory


def test_what_an_earlier_job_left_in_memory_is_an_error_only_where_it_does_not_fit(group: Group) -> None:
    group.begin(memory=256 * MB, processes=None)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as left:
        assert run(group, f"open({left.name!r}, 'wb').write(bytes(80 << 20))")[0] == 0
        if group._files is V1:
            with pytest.raises(OSError) as caught:
                group.begin(memory=48 * MB, processes=None)
            assert caught.value.errno == errno.EBUSY
        group.begin(memory=128 * MB, processes=None)
    group.begin(memory=48 * MB, processes=None)
    assert run(group, HOLD.format(200))[0] == -signal.SIGKILL


def test_what_has_not_changed_is_not_written(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    group.begin(memory=64 * MB, processes=8)
    written: list[bytes] = []
    monkeypatch.setattr(cgroup.os, "pwrite", lambda fd, data, at: written.append(data))
    group.begin(memory=64 * MB, processes=8)
    assert written in ([b"0"], [])  # the reset of the peak


def test_kill_leaves_nothing_not_even_what_forks_on_and_on(group: Group) -> None:
    group.begin(memory=256 * MB, processes=60)
    child = start(group, "import os\nprint('up', flush=True)\nwhile True:\n try: os.fork()\n except OSError: pass")
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    assert group.pids()
    assert group.kill()
    assert group.pids() == []
    assert child.wait() == -signal.SIGKILL
    child.communicate()


def test_a_kill_is_not_counted_as_refused_forks_and_keeps_the_limit(group: Group) -> None:
    group.begin(memory=None, processes=50)
    child = start(group, "import os\nprint('up', flush=True)\nwhile True:\n if os.fork() == 0: os._exit(0)\n os.wait()")
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    assert group.kill()
    child.communicate()
    assert group.usage().refused_forks == 0
    assert run(group, FORKS)[1].strip() == "20"


def test_an_emptied_group_takes_the_next_job(group: Group) -> None:
    for _ in range(3):
        group.begin(memory=64 * MB, processes=10)
        assert run(group, "print('ran')") == (0, "ran\n")
        assert group.kill()


def test_a_dead_process_cannot_be_attached(group: Group) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(ProcessLookupError):
        group.attach(child.pid)


def test_meters_are_read_by_who_holds_them_and_cannot_be_written(group: Group) -> None:
    group.begin(memory=None, processes=None)
    run(group, HOLD.format(20))
    meters = group.meters()
    assert {"memory", "processes"} <= set(meters)
    for fd in meters.values():
        assert os.pread(fd, 64, 0)
        with pytest.raises(OSError):
            os.write(fd, b"0")
    assert int(os.pread(meters["processes"], 64, 0)) == 0


def test_close_kills_and_leaves_no_folder_and_may_be_repeated(cgroups: Cgroups) -> None:
    groups = [cgroups.group(f"slot-{n}") for n in range(3)]
    child = start(groups[1], "import time; time.sleep(1000)")
    groups[0].close()
    groups[0].close()
    assert groups[0].pids() == [] and groups[0].meters() == {}
    cgroups.group("slot-0")
    cgroups.close()
    assert child.wait() == -signal.SIGKILL
    child.communicate()
    assert folders_left(cgroups) == []
    cgroups.close()


def test_two_workers_do_not_meet(cgroups: Cgroups) -> None:
    other = Cgroups.probe()
    assert isinstance(other, Cgroups)
    cgroups.group("slot-1"), other.group("slot-1")
    other.close()
    assert folders_left(other) == [] and folders_left(cgroups)


def test_a_name_is_taken_once_and_the_failure_leaves_the_first_alone(cgroups: Cgroups) -> None:
    first = cgroups.group("slot-1")
    with pytest.raises(FileExistsError):
        cgroups.group("slot-1")
    first.begin(memory=64 * MB, processes=10)
    assert run(first, "print('ran')") == (0, "ran\n")


# -- where we are, from texts --------------------------------------------------------------------------------------

V1_MOUNTS = (
    "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)
V2_MOUNT = "41 31 0:38 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_OURS = "4:memory:/a/b\n3:pids:/\n2:cpu,cpuacct:/a:b\n1:name=systemd:/\n"


def test_v1_is_found_by_hierarchy() -> None:
    assert locate(V1_MOUNTS, V1_OURS) == (
        1,
        {
            "memory": "/sys/fs/cgroup/memory/a/b",
            "pids": "/sys/fs/cgroup/pids",
            "cpu": "/sys/fs/cgroup/cpu,cpuacct/a:b",
            "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/a:b",
        },
    )


def test_a_hybrid_host_is_v1_and_so_is_none_of_its_empty_v2() -> None:
    hybrid = V2_MOUNT.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    assert locate(V1_MOUNTS + hybrid, V1_OURS + "0::/\n")[0] == 1


def test_v2_is_found() -> None:
    own = "/sys/fs/cgroup/system.slice/pumasi.service"
    assert locate(V2_MOUNT, "0::/system.slice/pumasi.service\n") == (2, dict.fromkeys(("memory", "pids", "cpu"), own))


@pytest.mark.parametrize(
    ("root", "path", "found"),
    [
        ("/", "/", "/m"),
        ("/docker/1", "/docker/1", "/m"),  # a container that sees its own part, by the host's names
        ("/docker/1", "/docker/1/x", "/m/x"),
        ("/docker/1", "/docker/12", None),
        ("/docker/1", "/", None),
        ("/../..", "/", None),  # a mount from outside our cgroup namespace
        ("/..", "/../x", "/m/x"),
        ("/", "/../x", None),  # we are outside our own namespace's root
    ],
)
def test_a_mount_may_show_only_a_part(root: str, path: str, found: str | None) -> None:
    mounts = f"41 31 0:38 {root} /m rw - cgroup2 cgroup2 rw\n"
    if found is None:
        with pytest.raises(NoCgroups):
            locate(mounts, f"0::{path}\n")
    else:
        assert locate(mounts, f"0::{path}\n")[1]["memory"] == found


def test_mount_points_are_unescaped() -> None:
    assert locate("41 31 0:38 / /m\\040n rw - cgroup2 c rw\n", "0::/\n")[1]["pids"] == "/m n"


def test_no_controllers_is_a_reason() -> None:
    with pytest.raises(NoCgroups, match="memory and pids"):
        locate("23 1 0:5 / / rw - ext4 /dev/root rw\n", "0::/\n")


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EACCES, "Delegate"), (errno.EROFS, "read-only"), (errno.EBUSY, "other processes")]
)
def test_probe_says_what_is_missing(number: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, mode: int = 0) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(cgroup, "locate", lambda *_: (1, {"memory": "/m", "pids": "/p"}))
    monkeypatch.setattr(cgroup.os, "mkdir", refuse)
    reason = Cgroups.probe()
    assert isinstance(reason, str) and hint in reason and "/m" in reason


# -- v2, on plain files --------------------------------------------------------------------------------------------

V2_FILES = {
    "cgroup.procs": "",
    "cgroup.controllers": "cpuset cpu io memory pids",
    "cgroup.subtree_control": "",
    "cgroup.kill": "",
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.max": "",
    "memory.swap.max": "",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 0\n",
    "cpu.stat": "usage_usec 1000000\nuser_usec 900000\nsystem_usec 100000\n",
    "cpu.weight": "",
    "pids.max": "",
    "pids.current": "3\n",
    "pids.peak": "6\n",
    "pids.events": "max 4\n",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a new folder comes with files, and goes with them, as in the kernel's."""
    mkdir, rmdir = os.mkdir, os.rmdir

    def make(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        for name, text in V2_FILES.items():
            (Path(path) / name).write_text(text)

    def drop(path: str) -> None:
        for name in V2_FILES:
            (Path(path) / name).unlink(missing_ok=True)
        rmdir(path)

    with monkeypatch.context() as patch:
        patch.setattr(cgroup.os, "mkdir", make)
        patch.setattr(cgroup.os, "rmdir", drop)
        os.mkdir(str(tmp_path / "own"))
        yield tmp_path / "own"  # type: ignore[misc]


def v2_group(own: Path) -> tuple[Group, Path]:
    folder = own / "slot-1"
    return Group(V2, dict.fromkeys(("memory", "pids", "cpu"), str(folder))), folder


def test_v2_writes_limits_and_share(own: Path) -> None:
    group, folder = v2_group(own)
    group.begin(memory=64 * MB, processes=12)
    texts = {name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.weight")}
    assert texts == {"memory.max": str(64 * MB), "memory.swap.max": "0", "pids.max": "12", "cpu.weight": "25"}
    group.close()


def test_v2_counts_since_begin(own: Path) -> None:
    group, folder = v2_group(own)
    group.begin(memory=None, processes=None)
    for name, text in {
        "memory.peak": "12288\n",
        "memory.events": "low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\noom_group_kill 0\n",
        "cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
        "pids.peak": "9\n",
        "pids.events": "max 6\n",
    }.items():
        (folder / name).write_text(text)
    usage = group.usage()
    assert (usage.memory, usage.cpu, usage.processes) == (12288, 0.5, 9)
    assert (usage.oom_kills, usage.refused_forks) == (1, 2)
    assert set(group.meters()) == {"memory", "cpu", "processes", "oom"}
    group.close()


def test_v2_a_peak_that_cannot_be_reset_is_told_only_when_it_is_this_jobs(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, folder = v2_group(own)
    write = os.pwrite

    def refuse(fd: int, data: bytes, at: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("memory.peak"):
            raise OSError(errno.EINVAL, "no reset")
        return write(fd, data, at)

    monkeypatch.setattr(cgroup.os, "pwrite", refuse)
    group.begin(memory=None, processes=None)
    assert group.usage().memory is None
    (folder / "memory.peak").write_text("9000\n")
    assert group.usage().memory == 9000
    group.close()


def test_v2_the_worker_moves_to_a_leaf_and_hands_the_controllers_down(own: Path) -> None:
    assert settle(str(own)) == str(own)
    leaf = own / f"pumasi-worker-{os.getpid()}"
    assert (leaf / "cgroup.procs").read_text() == "0"
    assert "+cpu" in (own / "cgroup.subtree_control").read_text()
    assert settle(str(leaf)) == str(own)


def test_v2_without_delegated_controllers_is_a_reason_and_leaves_no_leaf(own: Path) -> None:
    (own / "cgroup.controllers").write_text("cpu pids")
    with pytest.raises(NoCgroups, match="lacks memory;"):
        settle(str(own))
    assert not list(own.glob("pumasi-worker-*"))


def test_v2_the_subtree_comes_and_goes(own: Path) -> None:
    cgroups = Cgroups(2, dict.fromkeys(("memory", "pids", "cpu"), str(own)))
    cgroups.group("slot-1").begin(memory=MB, processes=1)
    assert len(list(own.glob("pumasi-*/slot-1/memory.max"))) == 1
    cgroups.close()
    assert not list(own.glob("pumasi-*"))


HOLDER = """
import os, sys
from pumasi.sandbox.cgroup import Cgroups
cgroups = Cgroups.probe()
cgroups.group("slot-1-1")
print(*cgroups._folders.values(), sep="\\n", flush=True)
sys.stdin.read()
"""


def test_what_a_dead_worker_left_goes_with_the_next_and_what_a_living_one_has_stays(cgroups: Cgroups) -> None:
    cgroups.group("empty")
    homes = {name: os.path.dirname(folder) for name, folder in cgroups._folders.items()}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        left = [other.stdout.readline().strip() for _ in cgroups._folders]
        Cgroups(cgroups.version, homes).close()
        assert all(os.path.exists(f"{folder}/slot-1-1") for folder in left)
        other.kill()
    until = time.monotonic() + 10
    while any(os.path.exists(folder) for folder in left):  # a worker that sweeps at the same time may hold one
        assert time.monotonic() < until
        Cgroups(cgroups.version, homes).close()
    assert all(os.path.exists(f"{folder}/empty") for folder in cgroups._folders.values())


def test_what_still_runs_keeps_a_dead_workers_group(cgroups: Cgroups) -> None:
    group = cgroups.group("slot-1-1")
    child = start(group, "sys.stdin.read()")
    homes = {name: os.path.dirname(folder) for name, folder in cgroups._folders.items()}
    for lock in cgroups._locks:
        os.close(lock)
    cgroups._locks.clear()
    Cgroups(cgroups.version, homes).close()
    assert len(folders_left(cgroups)) == len(cgroups._folders)
    assert group.pids() == [child.pid]
    group.close()
    child.communicate()


def test_a_sweep_that_comes_between_making_and_holding_costs_nothing(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, sweeps = cgroup.fcntl.flock, [1]

    def late(fd: int, how: int) -> None:
        if sweeps:
            sweeps.clear()
            cgroup.remove_unheld(str(own / "pumasi-1-a"))
        lock(fd, how)

    monkeypatch.setattr(cgroup.fcntl, "flock", late)
    os.close(cgroup.claimed(str(own / "pumasi-1-a")))
    assert (own / "pumasi-1-a").is_dir() and not sweeps


def test_a_limit_shrinks_as_soon_as_what_was_written_is_let_go(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    setting, refused = group._set, iter([True, True])

    def slow(name: str, value: str) -> None:
        if name == group._files.limit and next(refused, False):
            raise OSError(errno.EBUSY, "still held")
        setting(name, value)

    monkeypatch.setattr(group, "_set", slow)
    group.begin(memory=64 * MB, processes=None)
    assert group._written[group._files.limit] == str(64 * MB)


def test_a_killed_process_is_seen_by_who_holds_the_meters(group: Group) -> None:
    group.begin(memory=32 * MB, processes=None)
    meter = group.meters()["oom"]
    before = cgroup.field(os.pread(meter, 4096, 0), b"oom_kill")
    run(group, HOLD.format(64))
    assert cgroup.field(os.pread(meter, 4096, 0), b"oom_kill") == before + 1
