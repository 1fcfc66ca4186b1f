"""A worker's large results and artifacts go to the place of the settings, and come back from it."""

from pathlib import Path

from pumasi.broker import connect
from pumasi.core.job import State
from tests.harness import System

SCRIPT = """
    from pathlib import Path

    def main():
        Path("page.html").write_text("a page")
        return "품" * 300_000
"""


async def test_from_a_worker_to_a_reader(tmp_path: Path) -> None:
    blobs = f"file://{tmp_path}/blobs"
    system = System(tmp_path, blobs=blobs)
    system.script("large/main.py", SCRIPT)
    system.script("large/pumasi.toml", 'artifacts = ["*.html"]')
    async with system.open(), system.working(), connect(system.url, blobs=blobs) as broker:
        job = await system.run("large")
        assert job.state is State.COMPLETED, job
        assert await broker.result(job) == '"' + "품" * 300_000 + '"'
        assert await broker.artifact(job, "page.html") == b"a page"
        assert [key.partition("/")[0] for key in await system.broker.list_blobs("")] == ["script"]
    assert {path.name for path in (tmp_path / "blobs").iterdir()} == {"artifact", "result"}
