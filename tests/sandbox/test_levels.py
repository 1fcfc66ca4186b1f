"""Which level a worker finds, as the user that it is."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pumasi
from pumasi.errors import BadSetting
from pumasi.sandbox import level as levels
from pumasi.sandbox.uids import Uids
from tests.harness import System

PYTHON = "/usr/bin/python3"
NOBODY = 65533
FIND = """
import asyncio, sys, tempfile
from pathlib import Path
from pumasi.sandbox.templates import Templates

async def main(folder):
    templates = Templates("auto", python=sys.executable, visible=[], cache=folder / "cache", scratch=folder / "scratch",
                          slots=1, memory=1 << 29)
    await templates.open()
    print(templates.level, sorted(templates.reasons))
    await templates.close()

with tempfile.TemporaryDirectory() as name:
    asyncio.run(main(Path(name)))
"""


def test_settings_and_levels() -> None:
    assert levels.candidates("auto") == ("full", "unprivileged", "container", "basic")
    assert levels.candidates("require") == ("full",)
    assert levels.candidates("container") == ("container",)


def test_a_root_that_cannot_change_users_is_not_mapped_into_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    def reason(uid: int, uids: str | Uids) -> str:
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        parts = levels.Parts(uids=uids, cgroups="none", filters={}, landlock=0)
        return levels.missing("unprivileged", parts)

    assert "root without the right to change users" in reason(0, "no right")
    assert reason(1000, "no right") == ""
    uids = Uids()
    assert reason(0, uids) == ""
    uids.close()


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


@pytest.mark.parametrize("level", ["full", "unprivileged"])
async def test_what_is_shown_below_tmp_is_in_sight_beside_a_job_s_own_tmp(tmp_path: Path, level: str) -> None:
    if not str(tmp_path).startswith("/tmp/"):
        pytest.skip("the folder for temporary files of these tests is another")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "list.txt").write_text("seen")
    async with System(tmp_path, isolation=level, visible=(tmp_path / "shared",)).open() as system:
        path = tmp_path / "shared" / "list.txt"
        system.script("looks.py", f"import os\ndef main(): return [open({str(path)!r}).read(), os.listdir('/tmp')]")
        try:
            async with system.working():
                job = await system.run("looks")
        except BadSetting as error:
            pytest.skip(str(error))
    text, names = json.loads(job.result or "[]")
    assert text == "seen"
    assert tmp_path.parts[2] in names
    assert set(names) < set(os.listdir("/tmp"))


@pytest.mark.parametrize(
    "file", sorted((Path(pumasi.__file__).parent / "sandbox" / "inside").glob("*.py")), ids=lambda file: file.name
)
def test_what_runs_inside_is_python_from_3_9_on(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 9))
