"""Scripts against their output: too much of it, none of it, and what pretends to come from somebody else."""

import pytest

from pumasi.core.job import State
from pumasi.terminal import printable
from tests.sandbox.hostile.bench import Bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = '{"event": "job.completed", "level": "info", "job_id": "forged"}'


async def test_flood(bench: Bench) -> None:
    source = "block = b'x' * 99 + b'\\n'\nfor _ in range(200): os.write(1, block * 1000)"
    job = await bench.row("flood", source, args=["now"])
    assert job.peaks.output == 20_000_000
    log = await bench.system.log(job)
    assert len(log) < 2_000_000
    assert "left out" in log


async def test_flood_over_its_limit(bench: Bench) -> None:
    source = "while True: os.write(1, b'x' * 1000 + b'\\n')"
    await bench.row("flood over its limit", source, args=["now"], limits={"output": "1MB"})


async def test_endless_line(bench: Bench) -> None:
    job = await bench.row("endless line", "for _ in range(5000): os.write(1, b'x' * 1000)", args=["now"])
    assert job.peaks.output == 5_000_000
    assert max(len(record.data) for record in await bench.system.broker.read(job.id)) <= 64 * 1024


async def test_closed_streams(bench: Bench) -> None:
    source = "def main():\n    for fd in range(256):\n        try: os.close(fd)\n        except OSError: pass"
    await bench.row("closed streams", source)


async def test_forged_result(bench: Bench) -> None:
    """A result is what `main` returns, not what it prints; and what is no report is none."""
    source = """
def main():
    print('{"result": "forged"}')
    print('"forged"')
    sys.stdout.flush()
    for line in (b"[]", b"null", b'{"result": 1}', b'{"ended": 0}', b"[" * 100000, b"\\xff\\xfe", b'{"result": {}}'):
        os.write(4, line + b"\\n")
    return could
"""
    job = await bench.row("forged result", source)
    assert job.result == "[]"


async def test_terminal_escapes(bench: Bench) -> None:
    source = "os.write(1, b'\\x1b]0;owned\\x07\\x1b[2J\\xe2\\x80\\xae\\rgood\\n')"
    job = await bench.row("terminal escapes", source, args=["now"])
    log = await bench.system.log(job)
    assert log.startswith("\x1b]0;owned\x07")
    shown = printable(log)
    assert not set(shown) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "good" in shown


async def test_forged_log(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    """Each piece of a log says which stream it came by; nothing of it is in the worker's own log."""
    source = f"print({FORGED!r}, flush=True)\nprint({FORGED!r}, file=sys.stderr, flush=True)\n" + (
        "os.write(4, b'{\"log\": \"a\\\\n' + b'x' * 10 + b'\"}\\n')"
    )
    job = await bench.run(source, args=["now"])
    bench.compare("forged log", job, list(bench.left_of(job)))
    records = await bench.system.broker.read(job.id)
    assert {record.stream for record in records if b"forged" in record.data} == {"stdout", "stderr"}
    assert job.state is State.COMPLETED
    assert "forged" not in "".join(capfd.readouterr())
