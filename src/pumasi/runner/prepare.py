"""What a process is born with: its closed environment, and the payload that tells it what to run."""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from pumasi.core.job import Job, ResultMode
from pumasi.errors import Invalid
from pumasi.scripts.cache import Cached
from pumasi.scripts.manifest import Manifest

#: where Debian and its like put the browser; what is named to the libraries that look for one of their own
BROWSER = "/usr/bin/chromium"
BROWSER_NAMES = ("CHROME_PATH", "CHROME_BIN", "PUPPETEER_EXECUTABLE_PATH", "PLAYWRIGHT_CHROMIUM_EXECUTABLE_PATH")


class Place(Struct, frozen=True):
    """Where a run takes place, as its process sees it; `work`, below `home`, holds the script."""

    home: str
    tmp: str

    @property
    def work(self) -> str:
        """The script's folder, and its working directory."""
        return f"{self.home}/work"


#: where the process has a root of its own
INSIDE = Place("/home/script", "/tmp")  # noqa: S108


def environment(
    job: Job, manifest: Manifest, place: Place, *, python: str, allowed: Sequence[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The closed environment of a script: nothing of the worker's but what its manifest names and the worker allows.

    Raises: Invalid (a name that is not allowed, a secret that is not set).
    """
    env = {
        "PATH": f"{os.path.dirname(python)}:/usr/local/bin:/usr/bin:/bin",
        "HOME": place.home,
        "TMPDIR": place.tmp,
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONPATH": place.work,
        "PUMASI_JOB_ID": job.id,
        "PUMASI_ATTEMPT": str(job.attempt),
    }
    if "TZ" in environ:
        env["TZ"] = environ["TZ"]
    if manifest.browser:
        env |= dict.fromkeys(BROWSER_NAMES, BROWSER)
    for name in (*manifest.env, *manifest.secrets):
        if name not in allowed:
            raise Invalid(
                "script {script} asks for the variable {name}, which this worker does not allow; "
                "add it to the setting allow_env (PUMASI_ALLOW_ENV)",
                script=job.script,
                name=name,
            )
        if name in environ:
            env[name] = environ[name]
        elif name in manifest.secrets:
            raise Invalid(
                "the secret {name} of script {script} is not set on this worker", name=name, script=job.script
            )
    return env


def payload(job: Job, cached: Cached, place: Place, mode: ResultMode, env: Mapping[str, str]) -> int:
    """A sealed memory file, as an fd, with what the process is to run: parameters appear in no process list."""
    given = ["--parameters", job.parameters] if job.parameters is not None else []
    entry = Path(place.work, cached.entry_point)
    told = {
        "mode": mode,
        "folder": str(entry.parent),
        "entry": str(entry),
        "parameters": job.parameters or "{}",
        "argv": [*given, *(job.args or ())],
        "env": env,
        "command": cached.manifest.command or (),
    }
    if any("\0" in word for word in told["argv"]):
        raise Invalid("an argument of job {id} holds a NUL character, which no program can be given", id=job.id)
    fd = os.memfd_create("payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(os.dup(fd), "wb") as file:
        file.write(json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogateescape"))
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd
