"""What a process is born with: its closed environment, and the payload that tells it what to run."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from pumasi.core.job import Job, ResultMode
from pumasi.errors import Invalid
from pumasi.scripts.manifest import Manifest


def environment(job: Job, manifest: Manifest, folder: Path, *, python: str, allowed: Sequence[str]) -> dict[str, str]:
    """The closed environment of a script: nothing of the worker's but what its manifest names and the worker allows.

    Raises: Invalid (a name that is not allowed, a secret that is not set).
    """
    env = {
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(folder / "work"),
        "PUMASI_JOB_ID": job.id,
        "PUMASI_ATTEMPT": str(job.attempt),
    }
    if "TZ" in os.environ:
        env["TZ"] = os.environ["TZ"]
    for name in (*manifest.env, *manifest.secrets):
        if name not in allowed:
            raise Invalid(
                "script {script} asks for the variable {name}, which this worker does not allow; "
                "add it to the setting allow_env (PUMASI_ALLOW_ENV)",
                script=job.script,
                name=name,
            )
        if name in os.environ:
            env[name] = os.environ[name]
        elif name in manifest.secrets:
            raise Invalid(
                "the secret {name} of script {script} is not set on this worker", name=name, script=job.script
            )
    return env


def payload(job: Job, work: Path, entry_point: str, mode: ResultMode) -> int:
    """A sealed memory file, as an fd, with what the process is to run: parameters appear in no process list."""
    given = ["--parameters", job.parameters] if job.parameters is not None else []
    entry = work / entry_point
    words = [mode, str(entry.parent), str(entry), job.parameters or "{}", *given, *(job.args or ())]
    if any("\0" in word for word in words):
        raise Invalid("an argument of job {id} holds a NUL character, which no program can be given", id=job.id)
    fd = os.memfd_create("payload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write("\0".join(words).encode("utf-8", "surrogateescape"))
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd
