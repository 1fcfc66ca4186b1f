"""The script, in a process that is ready for it: makes it look as if `python entry.py …` had been typed, and runs it.

The payload (fd 3) is one JSON object: mode, folder, entry, parameters, argv, environment, or the command of a program
that is not Python. The report pipe (fd 4) takes one JSON object a line.
"""

from __future__ import annotations

import _io  # its base class is no ABC, which would be slow to ask
import atexit
import gc
import json
import os
import signal
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, NoReturn

PAYLOAD, REPORT = 3, 4


def run(ours: dict[str, list[str]], handlers: list[int]) -> NoReturn:
    """Read what to run, run it, and end the process as Python would.

    Args:
        ours: modules that only this code has loaded, by their top names; a script's own file of such a name wins.
        handlers: signals that a preloaded module has taken.
    """
    told = json.loads(payload())
    become(told["env"])
    if told.get("command"):
        execute(told["command"], told["argv"])
    for number in handlers:
        signal.signal(number, signal.SIG_DFL)
    fresh_chance()
    gc.enable()
    step_aside(told["folder"], ours)
    leave(outcome(told))


def payload() -> str:
    """What to run; nobody reads it again."""
    size = os.fstat(PAYLOAD).st_size
    data = os.pread(PAYLOAD, size, 0)
    os.close(PAYLOAD)
    return data.decode("utf-8", "surrogateescape")


def execute(command: list[str], argv: list[str]) -> NoReturn:
    """A program that is not Python, in place of this one; what a shell would say when there is none."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and programs inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], [*command, *argv])
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(126 if isinstance(error, PermissionError) else 127)


def fresh_chance() -> None:
    """Random numbers that no brother of this process draws as well. (`random` itself sees to it at each fork.)"""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


def become(env: dict[str, str]) -> None:
    """The environment is this; most of it is there already, and what is touched is copied."""
    for name in [name for name in os.environ if name not in env]:
        del os.environ[name]
    for name, value in env.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def step_aside(folder: str, ours: dict[str, list[str]]) -> None:
    """A `json.py` beside the script is what its `import json` means, though we have loaded another."""
    for own in os.listdir(folder):
        for name in ours.get(own.partition(".")[0], ()):
            sys.modules.pop(name, None)


def outcome(told: dict[str, Any]) -> int:
    """Run the script; its exit code."""
    entry, returns = told["entry"], told["mode"] == "return"
    sys.argv = [entry, *told["argv"]]
    sys.path.insert(0, told["folder"])
    # where `main` is called by us, a guard at the end of the file must not run it as well
    module = type(sys)("__pumasi_main__" if returns else "__main__")
    module.__file__ = entry
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = sys.modules[module.__name__] = module
    try:
        execute_file(module, entry)
        if returns:
            return report_result(module.main, json.loads(told["parameters"]))
    except SystemExit as end:
        return exit_code(end.code)
    except BaseException as error:
        show(error)
        if returns:
            report({"raised": f"{type(error).__name__}: {error}"[:4000]})
        return 1
    return 0


def execute_file(module: ModuleType, entry: str) -> None:
    """Execute the file in the module's namespace."""
    with open(entry, "rb") as file:
        code = compile(file.read(), entry, "exec", dont_inherit=True)
    exec(code, module.__dict__)


def report_result(main: Any, parameters: dict[str, Any]) -> int:
    """Call `main` with the parameters; its value is the result."""
    wrong = misfit(main, parameters)
    if wrong:
        report({"mismatch": wrong})
        sys.stderr.write(wrong + "\n")
        return 1
    value = main(**parameters)
    if hasattr(value, "__await__"):
        import asyncio

        value = asyncio.run(as_coroutine(value))
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        report({"unfit": str(error)})
    else:
        report({"result": text})
    return 0


def misfit(main: Any, parameters: dict[str, Any]) -> str:
    """Why `main` cannot be called with these parameters; empty when it can. (`inspect` is slow to load.)"""
    code = getattr(main, "__code__", None)
    if code is None or code.co_posonlyargcount or hasattr(main, "__wrapped__"):
        return ""
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    optional = {*positional[len(positional) - len(main.__defaults__ or ()) :], *(main.__kwdefaults__ or ())}
    missing = [name for name in (*positional, *keywords) if name not in optional and name not in parameters]
    unknown = [name for name in parameters if name not in (*positional, *keywords)]
    takes_any = code.co_flags & 0x08  # **parameters
    if missing:
        return "main needs the parameter " + ", ".join(missing)
    if unknown and not takes_any:
        takes = ", ".join((*positional, *keywords)) or "none"
        return f"main takes no parameter {', '.join(unknown)}; it takes: {takes}"
    return ""


async def as_coroutine(value: Any) -> Any:
    return await value


def report(message: dict[str, str]) -> None:
    """One line to the worker; a pipe that the script has closed is the script's loss."""
    line = json.dumps(message).encode() + b"\n"
    try:
        while line:
            line = line[os.write(REPORT, line) :]
    except OSError:
        pass


def show(error: BaseException) -> None:
    """The traceback as the script's author expects it: without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    except Exception:
        import traceback

        traceback.print_exc()


def exit_code(code: object) -> int:
    """What `sys.exit(code)` means."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def leave(code: int) -> NoReturn:
    """End as Python ends, without taking the interpreter apart: threads are waited for, what was to be done at exit is
    done, and every open file is flushed. What it leaves out is `__del__` of objects that something still holds."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        if threading.active_count() == 1:
            sys.modules["__main__"].__dict__.clear()
        for thing in gc.get_objects():  # those made since the fork: what came before it is frozen
            if isinstance(thing, _io._IOBase) and not thing.closed:
                flush(thing)
    except BaseException as error:
        show(error)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not flush(stream) and stream is sys.stdout:
            code = code or 120  # as Python says that output was lost
    os._exit(code)


def flush(stream: Any) -> bool:
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
