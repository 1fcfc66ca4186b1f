"""What a script may use, in real processes: with the sandbox's pipe, without it, and when it goes away."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pumasi.script.parameters import parameters

SURE = "import sys; assert not {'typing', 'asyncio', 'json', 'msgspec', 'pydantic', 'threading'} & set(sys.modules)\n"


def run(
    source: str, folder: Path, *args: str, piped: bool = True, env: dict[str, str] | None = None, code: int = 0
) -> tuple[list[Any], str, str]:
    """The messages on descriptor 4, standard output, and standard error of a script."""
    reader, writer = os.pipe()
    program = "import os, sys\nfrom pumasi import script\n" + textwrap.dedent(source)
    # The shell puts the pipe where the sandbox would, or takes it away.
    place = f"4>&{writer} " if piped and writer != 4 else ""
    shell = ["bash", "-c", f'exec "$@" {place}{writer}>&-', "bash", sys.executable, "-c", program, *args]
    process = subprocess.Popen(
        shell,
        cwd=folder,
        env={**os.environ, **({"PUMASI_JOB_ID": "j1"} if piped else {}), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[writer],
        text=True,
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        lines = pipe.read().splitlines()
    out, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert all(len(line) < 4096 for line in lines)
    return [json.loads(line) for line in lines], out, error


def test_it_loads_next_to_nothing(tmp_path: Path) -> None:
    run(SURE, tmp_path, piped=False)


def test_messages(tmp_path: Path) -> None:
    source = """
        script.progress(3, 10, "page 3")
        script.progress(0.5)
        script.log("found", 17, "items")
        script.log("\uac00\\n\ub098", level="warning")
        open("page.png", "w").close()
        script.artifact("page.png")
        script.artifact(os.path.abspath("page.png"))
        print("out")
    """
    messages, out, error = run(source, tmp_path)
    assert messages == [
        {"progress": [3, 10, "page 3"]},
        {"progress": [0.5, None, ""]},
        {"log": "found 17 items", "level": "info"},
        {"log": "\uac00\n\ub098", "level": "warning"},
        {"artifact": "page.png"},
        {"artifact": "page.png"},
    ]
    assert (out, error) == ("out\n", "")


def test_without_pumasi(tmp_path: Path) -> None:
    source = """
        script.progress(3, 10, "page 3")
        script.progress(4)
        script.log("found", 17)
        script.log("oh", level="error")
        open("a", "w").close()
        script.artifact("a")
        print(script.params)
    """
    messages, out, error = run(source, tmp_path, "--parameters", '{"a": 1}', piped=False)
    assert (messages, out) == ([], "{'a': 1}\n")
    assert error == "[3/10] page 3\n[4]\nfound 17\nerror: oh\n"


def test_descriptor_four_of_somebody_else(tmp_path: Path) -> None:
    # A job, but nobody listens: what the script opens at 4 stays its own.
    source = """
        import tempfile
        for number in range(3, 9):
            try: os.close(number)
            except OSError: pass
        files = [open(f"f{n}", "w+") for n in range(4)]
        assert 4 in [file.fileno() for file in files]
        script.log("x")
        script.progress(1)
        for file in files:
            file.seek(0)
            assert file.read() == ""
    """
    for piped in (True, False):
        messages, _, error = run(source, tmp_path, piped=piped, env={"PUMASI_JOB_ID": "j1"})
        assert (messages, error) == ([], "x\n[1]\n")


def test_a_pipe_nobody_reads(tmp_path: Path) -> None:
    source = """
        reader, writer = os.pipe()
        os.dup2(writer, 4); os.close(writer)
        import pumasi.script.channel as channel
        channel._pipe = channel._identity()
        os.close(reader)
        script.log("a")
        script.log("b")
    """
    _, _, error = run(source, tmp_path)
    assert error == "a\nb\n"


def test_standard_error_is_gone_too(tmp_path: Path) -> None:
    run("sys.stderr = None; script.log('a'); script.progress(1)", tmp_path, piped=False)
    run("os.close(2); script.log('a'); script.progress(1); sys.stderr = None", tmp_path, piped=False)


def test_long_and_odd_texts(tmp_path: Path) -> None:
    source = """
        script.log("x" * 1000, "\\U0001f600" * 500, "\\ud800", "\\0")
        script.progress(1, 2, "\\U0001f600" * 10000)
        script.log()
    """
    messages, _, _ = run(source, tmp_path)
    assert (
        "".join(message["log"] for message in messages if "log" in message)
        == "x" * 1000 + " " + "\U0001f600" * 500 + " ? \0"
    )
    assert next(message for message in messages if "progress" in message)["progress"][2] == "\U0001f600" * 320


def test_threads_and_children_do_not_mix_their_lines(tmp_path: Path) -> None:
    source = """
        import threading
        def work(name):
            for n in range(200):
                script.log(f"{name}:{n}:" + "\uac00" * 300)
        children = []
        for name in "ab":
            child = os.fork()
            if not child:
                work(name)
                os._exit(0)
            children.append(child)
        threads = [threading.Thread(target=work, args=(name,)) for name in "cd"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        for child in children: os.waitpid(child, 0)
    """
    messages, _, _ = run(source, tmp_path)
    for name in "abcd":
        numbers = [int(message["log"].split(":")[1]) for message in messages if message["log"].startswith(name)]
        assert numbers == list(range(200))


def test_a_pipe_made_non_blocking(tmp_path: Path) -> None:
    source = """
        os.set_blocking(4, False)
        for n in range(1000):
            script.log("x" * 300)
    """
    messages, _, _ = run(source, tmp_path)
    assert len(messages) == 1000


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ('script.progress(float("nan"))', "ValueError: progress needs finite numbers, not nan"),
        ('script.progress(1, float("inf"))', "ValueError: progress needs finite numbers, not inf"),
        ("script.progress(10**400)", "ValueError: progress needs finite numbers"),
        ('script.progress("many")', "ValueError: could not convert"),
        ('script.log("x", level="loud")', "ValueError: level is one of debug, info, warning, error, not 'loud'"),
        ('script.artifact("nope.png")', "FileNotFoundError: no file 'nope.png' to keep"),
        ('script.artifact(".")', "FileNotFoundError"),
        ('script.artifact("/etc/passwd")', "ValueError: an artifact is a file in the script's folder"),
        ('script.artifact("../x")', "ValueError: an artifact is a file in the script's folder"),
        ("script.nothing", "AttributeError: module 'pumasi.script' has no attribute 'nothing'"),
    ],
)
@pytest.mark.parametrize("piped", [True, False])
def test_mistakes_are_errors_of_the_script(tmp_path: Path, call: str, error: str, piped: bool) -> None:
    messages, _, shown = run(call, tmp_path, piped=piped, code=1)
    assert error in shown
    assert messages == []


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    source = """
        name = os.fsdecode(b"a\\xff")
        open(name, "w").close()
        script.artifact(name)
    """
    assert "not UTF-8" in run(source, tmp_path, code=1)[2]


def test_a_file_called_like_dots(tmp_path: Path) -> None:
    (tmp_path / "..x").touch()
    assert run('script.artifact("..x")', tmp_path)[0] == [{"artifact": "..x"}]


def test_params_are_read_once_and_stay(tmp_path: Path) -> None:
    source = """
        sys.argv = ["x", "--parameters={\\"page\\": 3}"]
        assert script.params == {"page": 3}
        sys.argv = ["x"]
        assert script.params == {"page": 3}
    """
    run(source, tmp_path)


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        ([], {}),
        (["--parameters", '{"a": 1}'], {"a": 1}),
        (['--parameters={"a": "="}'], {"a": "="}),
        (["x", "--parameters", "{}", "y"], {}),
        (["--", "--parameters", '{"a": 1}'], {}),
        (["--parametersx", "{"], {}),
    ],
)
def test_parameters(argv: list[str], values: dict[str, Any]) -> None:
    assert parameters(argv) == values


@pytest.mark.parametrize("text", ["", "[1]", "3", "{", "null", "[" * 100_000, '"x"'])
def test_what_are_no_parameters(text: str) -> None:
    with pytest.raises(ValueError, match="--parameters needs a JSON object"):
        parameters(["--parameters", text])


def test_a_flag_with_nothing_behind_it() -> None:
    with pytest.raises(ValueError, match="--parameters needs a JSON object"):
        parameters(["--parameters"])
