"""What a job can list, read, reach, signal, and what it is: facts that are the same on every machine of a level."""

SECRETS = (
    "/etc/shadow",
    "/etc/sudoers",
    "/root/.ssh",
    "/root/.netrc",
    "/proc/1/environ",
    "/proc/1/mem",
    "/proc/kcore",
    "/proc/sys/kernel/core_pattern",
    "/sys/kernel/security",
    "/var/run/docker.sock",
    "/run/systemd",
    "/boot",
    "/var/log",
    "/dev/mem",
    "/dev/kmsg",
    "/.cache",
    "/.scratch",
    "/sys/fs/cgroup",
)


def tried(action, *arguments):
    try:
        return action(*arguments)
    except (OSError, ValueError):
        return None


def openable(path, flags):
    return tried(lambda: os.close(os.open(path, flags))) is None and tried(os.open, path, flags) is not None


def listed(path):
    return sorted(tried(os.listdir, path) or [])


def known(name):
    """A folder of every root; or one that leads to the interpreter, its environment, what is installed in place."""
    usual = (
        ".cache",
        ".empty",
        ".scratch",
        ".shown",
        "bin",
        "dev",
        "etc",
        "home",
        "proc",
        "root",
        "run",
        "sbin",
        "tmp",
        "usr",
        "var",
    )
    leads = any(path.startswith(f"/{name}/") for path in (sys.base_prefix, *sys.path))
    return name in usual or name.startswith("lib") or leads


def processes():
    """Of others: how many it sees, and may signal."""
    others = [int(name) for name in listed("/proc") if name.isdigit() and int(name) != os.getpid()]
    return [pid for pid in others if tried(os.kill, pid, 0) is None and can_signal(pid)], others


def can_signal(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def main():
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    reachable, seen = processes()
    return {
        "uid and gid": [os.getuid(), os.getgid()],
        "groups": len(os.getgroups()),
        "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "no new privileges": status["NoNewPrivs"],
        "filters": status["Seccomp"],
        "host": os.uname().nodename,
        "folders at the root that should not be there": [name for name in listed("/") if not known(name)],
        "devices": listed("/dev"),
        "files of /home/script": listed(os.environ["HOME"]),
        "variables": sorted(os.environ),
        "descriptors": listed("/proc/self/fd")[:5],
        "reads": [path for path in SECRETS if openable(path, os.O_RDONLY)],
        "lists": [path for path in SECRETS if listed(path)],
        "writes": [
            path
            for path in ("/", "/etc", "/usr", "/var/tmp", "/run", "/proc/sys", "/tmp", "/dev/shm", ".")
            if os.access(path, os.W_OK)
        ],
        "sees other processes": len(seen),
        "signals other processes": len(reachable),
        "interfaces": sorted(name for _, name in socket.if_nameindex()) if tried(socket.if_nameindex) else [],
        "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in ("CORE", "NOFILE", "CPU")},
    }
