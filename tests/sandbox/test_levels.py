"""Which level a worker finds, as the user that it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pumasi
from pumasi.sandbox import level as levels

PYTHON = "/usr/bin/python3"
NOBODY = 65533
FIND = """
import asyncio, sys, tempfile
from pathlib import Path
from pumasi.sandbox.templates import Templates

async def main():
    folder = Path(tempfile.mkdtemp())
    templates = Templates("auto", python=sys.executable, visible=[], cache=folder / "cache", scratch=folder / "scratch",
                          slots=1, memory=1 << 29)
    await templates.open()
    print(templates.level, sorted(templates.reasons))
    await templates.close()

asyncio.run(main())
"""


def test_settings_and_levels() -> None:
    assert levels.candidates("auto") == ("full", "unprivileged", "container", "basic")
    assert levels.candidates("require") == ("full",)
    assert levels.candidates("container") == ("container",)


def test_an_ordinary_user_needs_no_privilege_for_a_root_of_its_own(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    version = [PYTHON, "-c", "import sys; print(*sys.version_info[:2])"]
    found = subprocess.run(version, capture_output=True, text=True, check=False).stdout.split()
    if found != [str(part) for part in sys.version_info[:2]]:
        pytest.skip(f"{PYTHON} is another version of Python than that of the tests")
    packages = [path for path in sys.path if path.endswith("site-packages")]
    done = subprocess.run(
        [PYTHON, "-B", "-c", FIND],
        env={"PYTHONPATH": ":".join([str(Path(pumasi.__file__).parents[1]), *packages]), "PATH": os.defpath},
        user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "unprivileged ['full']\n", done.stderr
