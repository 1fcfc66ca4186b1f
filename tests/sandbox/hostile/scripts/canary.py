"""What a job can list, read, reach, signal, and what it is: facts that are the same on every machine of a level.

Those of `host` depend on the machine where a script sees the host itself.
"""

SECRETS = (
    "/etc/shadow", "/etc/sudoers", "/root/.ssh", "/root/.netrc", "/proc/1/environ", "/proc/1/mem", "/proc/kcore",
    "/proc/sys/kernel/core_pattern", "/sys/kernel/security", "/var/run/docker.sock", "/run/systemd", "/boot",
    "/var/log", "/dev/mem", "/dev/kmsg", "/.cache", "/.scratch", "/sys/fs/cgroup",
)  # fmt: skip
PLACES = ("/", "/etc", "/usr", "/var/tmp", "/run", "/proc/sys", "/tmp", "/dev/shm", ".")
USUAL = (
    ".cache", ".empty", ".scratch", ".shown", "bin", "dev", "etc", "home", "proc", "root", "run", "sbin", "tmp", "usr",
    "var",
)  # fmt: skip
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def works(action, *arguments):
    """Whether it raises nothing and does not say no."""
    try:
        return action(*arguments) is not False
    except (OSError, ValueError):
        return False


def opens(path):
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def listed(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def connects(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        client.connect(address)


def known(name, ours):
    """A folder of every root; or one that leads to the interpreter, its environment, and our code."""
    leads = any(path.startswith(f"/{name}/") for path in (sys.base_prefix, ours, *sys.path))
    return name in USUAL or name.startswith("lib") or leads


def others():
    """Processes that are not this one, as far as it sees them."""
    return [int(name) for name in listed("/proc") if name.isdigit() and int(name) != os.getpid()]


def own_namespaces(of_the_worker):
    return [name for name in NAMESPACES if os.readlink(f"/proc/self/ns/{name}") != of_the_worker[name]]


def main(ours, worker, namespaces, data, abstract, pathname, port):
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    parent, limits = os.getppid(), ("CORE", "NOFILE", "CPU")
    theirs = ("spool", "cache", "scratch", "scratch/other/job", "secret")
    inside = ("environ", "mem", "maps", "cwd", "root", "fd")
    return {
        "identity": {
            "groups": len(os.getgroups()),
            "capabilities": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
            "no new privileges": status["NoNewPrivs"],
            "filters": status["Seccomp"],
            "own namespaces": own_namespaces(namespaces),
            "users of its namespace": [line.split()[::2] for line in open("/proc/self/uid_map").read().splitlines()],
            "variables": sorted(set(os.environ) - {"TZ"}),
            "descriptors": listed("/proc/self/fd")[:5],
            "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in limits},
        },
        "worker": {
            "sees it": os.path.exists(f"/proc/{worker}/status"),
            "signals it": works(os.kill, worker, 0),
            "reads of it": [name for name in inside if works(os.stat, f"/proc/{worker}/{name}/.") or
                            works(opens, f"/proc/{worker}/{name}")],
            "reads of its folder": [name for name in theirs if works(opens, f"{data}/{name}")],
        },
        "keeper": {
            "signals it": works(os.kill, parent, 0),
            "reads of it": [name for name in inside if works(os.stat, f"/proc/{parent}/{name}/.") or
                            works(opens, f"/proc/{parent}/{name}")],
        },
        "connects to": {
            "an abstract socket": works(connects, socket.AF_UNIX, abstract),
            "a socket of a folder": works(connects, socket.AF_UNIX, pathname),
            "loopback of the host": works(connects, socket.AF_INET, ("127.0.0.1", port)),
            "metadata": works(connects, socket.AF_INET, ("169.254.169.254", 80)),
        },
        "host": {
            "uid and gid": [os.getuid(), os.getgid()],
            "bounding set": status["CapBnd"],
            "name": os.uname().nodename,
            "folders at the root that should not be there": [name for name in listed("/") if not known(name, ours)],
            "devices": listed("/dev"),
            "files of its home": listed(os.environ["HOME"]),
            "reads": [path for path in SECRETS if works(opens, path)],
            "lists": [path for path in SECRETS if listed(path)],
            "writes": [path for path in PLACES if os.access(path, os.W_OK)],
            "sees other processes": len(others()),
            "signals other processes": sum(works(os.kill, pid, 0) for pid in others()),
            "interfaces": sorted(name for _, name in socket.if_nameindex()) if works(socket.if_nameindex) else [],
        },
    }  # fmt: skip
