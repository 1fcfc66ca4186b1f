"""`pumasi run`: the result on standard output, the log on standard error, the exit code, and nothing left behind."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Real = Callable[..., tuple[int, str, str]]
CLASSIC = """
import argparse, json, sys

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--parameters", type=json.loads, default={})
    print("working", file=sys.stderr)
    print("some text")
    print(json.dumps({"got": parser.parse_args().parameters}))

if __name__ == "__main__":
    main()
"""


def write(folder: Path, source: str, name: str = "job.py") -> None:
    (folder / name).write_text(source)


def test_a_classic_script_as_it_is(real: Real, folder: Path) -> None:
    write(folder, CLASSIC)
    code, out, err = real("run", "job.py", "--param", "page=3", "-p", "name=김")
    assert code == 0
    assert json.loads(out) == {"got": {"page": 3, "name": "김"}}
    assert sorted(err.splitlines()) == ["some text", "working"]
    assert sorted(path.name for path in folder.iterdir()) == ["job.py", "scripts"]


def test_parameters_from_stdin_and_a_main_that_returns(real: Real, folder: Path) -> None:
    write(folder, "def main(n, word='x'):\n    return word * n\n")
    assert real("run", "job.py", "--params", "-", stdin='{"n": 3}') == (0, '"xxx"\n', "")


def test_arguments_after_two_dashes(real: Real, folder: Path) -> None:
    write(folder, "import sys\nprint(sys.argv[1:], file=sys.stderr)\n")
    assert real("run", "job.py", "--", "--page", "3") == (0, "null\n", "['--page', '3']\n")


def test_a_failure_is_reported_with_what_it_used(real: Real, folder: Path) -> None:
    write(folder, "import sys\nprint('one', file=sys.stderr)\nsys.exit('gone wrong')\n")
    code, out, err = real("run", "job.py")
    assert (code, out) == (1, "")
    assert err.startswith("one\ngone wrong\nfailed: exit (its exit code was not 0)\n  exit code: 1\n  used: memory ")
    assert " of 512 MB, CPU time " in err
    assert err.endswith("  error: gone wrong\n")


def test_the_last_of_many_lines_are_repeated(real: Real, folder: Path) -> None:
    write(folder, "import sys\nfor n in range(100): print(n, file=sys.stderr)\nprint('end')\nsys.exit(3)\n")
    err = real("run", "job.py")[2]
    assert "  exit code: 3\n" in err
    assert err.endswith("    96\n    97\n    98\n    99\n    end\n") or "    98\n    99\n" in err


def test_a_limit_is_named(real: Real, folder: Path) -> None:
    write(folder, "import time\ntime.sleep(60)\n")
    code, _out, err = real("run", "job.py", "--timeout", "0.3")
    assert code == 1
    assert "failed: timeout (it ran too long)" in err
    assert " of 300ms" in err


def test_the_whole_record_as_json(real: Real, folder: Path) -> None:
    write(folder, "def main():\n    return {'a': [1]}\n")
    code, out, _err = real("run", "job.py", "--json", "--memory", "200MB", "--processes", "5")
    record = json.loads(out)
    wanted = {"id", "state", "result", "error", "cause", "exit_code", "signal", "attempt", "peaks", "limits",
              "isolation", "times"}  # fmt: skip
    assert code == 0
    assert wanted <= record.keys()
    assert (record["state"], record["result"], record["attempt"]) == ("completed", {"a": [1]}, 1)
    assert record["limits"]["memory"] == 200 * 1024**2
    write(folder, "raise SystemExit(4)\n")
    code, out, _err = real("run", "job.py", "--json")
    record = json.loads(out)
    assert (code, record["state"], record["cause"], record["exit_code"]) == (1, "failed", "exit", 4)


def test_a_large_result_comes_whole(real: Real, folder: Path) -> None:
    write(folder, "def main():\n    return 'x' * 1_000_000\n")
    code, out, _err = real("run", "job.py")
    assert (code, len(out)) == (0, 1_000_003)


def test_no_control_character_of_a_script_gets_through(real: Real, folder: Path) -> None:
    write(folder, "import sys\nsys.stderr.write('\\x1b]0;owned\\x07 \\u202e \\x9b31m\\n')\n")
    assert real("run", "job.py")[2] == "\\x1b]0;owned\\x07 \\u202e \\x9b31m\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["missing.py"], "there is no file missing.py"),
        (["bad.py"], "bad.py, line 1: "),
        (["ok.py", "--params", "[1]"], "parameters (--params) are a JSON object"),
        (["ok.py", "--timeout", "0"], "--timeout must be above 0"),
        (["ok.py", "--timeout", "-1"], "--timeout: '-1' is no duration"),
        (["ok.py", "--memory", "12 potatoes"], "--memory: '12 potatoes' is no size"),
        (["ok.py", "--result", "xml"], "--result must be one of 'json'"),
        (["ok.py", "--page", "3"], "there is no option --page"),
    ],
)
def test_what_cannot_be_run_exits_2(pumasi: Real, folder: Path, words: list[str], error: str) -> None:
    write(folder, "def main(:\n", "bad.py")
    write(folder, "print(1)\n", "ok.py")
    code, out, err = pumasi("run", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {error}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_cancels_the_job(folder: Path, number: int, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        write(folder, f"import socket, time\nline = socket.create_connection({address})\ntime.sleep(60)\n")
        with subprocess.Popen(
            [sys.executable, "-m", "pumasi", "run", "job.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            line, _ = server.accept()
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert "cancelling; once more to kill it at once" in err
    assert "\ncancelled\n" in err
    with line:
        assert line.recv(1) == b""  # whoever held the other end is gone
