"""The first code in a script's process: makes it look as if `python entry.py …` had been typed, and runs it.

Stdlib only, Python >= 3.9; run as `python -I -X utf8 bootstrap.py`. fd 3 holds the payload, a JSON object; fd 4 is the
report pipe, one JSON object a line. What is needed here is imported before the script's folder is on the path, so that
a `json.py` beside the script does not get at the harness, and forgotten again where the script has a module of that
name. What few scripts need is imported late, because its import is slow.
"""

from __future__ import annotations

import sys

BEFORE = set(sys.modules)  # what any Python has loaded by now

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

PAYLOAD, REPORT = 3, 4


def main() -> None:
    """Read what to run, and run it."""
    with os.fdopen(PAYLOAD, "rb") as file:
        payload = json.loads(file.read())
    os.set_inheritable(REPORT, False)
    entry = payload["entry"]
    sys.argv = [entry, *payload["argv"]]
    forget_shadowed(payload["folder"])
    sys.path.insert(0, payload["folder"])
    # where `main` is called by us, a guard at the end of the file must not run it as well
    module = type(sys)("__pumasi_main__" if payload["mode"] == "return" else "__main__")
    module.__file__ = entry
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = sys.modules[module.__name__] = module
    try:
        run(module, entry)
        if payload["mode"] == "return":
            report_result(module, payload["parameters"])
    except SystemExit:
        raise
    except BaseException as error:
        show(error)
        if payload["mode"] == "return":
            report({"raised": f"{type(error).__name__}: {error}"[:4000]})
        sys.exit(1)


def forget_shadowed(folder: str) -> None:
    """A script's own module wins over one of ours of the same name, as it would without us."""
    own = {name.partition(".")[0] for name in os.listdir(folder)}
    for name in set(sys.modules) - BEFORE:
        if name.partition(".")[0] in own:
            del sys.modules[name]


def run(module: ModuleType, entry: str) -> None:
    """Execute the file in the module's namespace."""
    with open(entry, "rb") as file:
        code = compile(file.read(), entry, "exec", dont_inherit=True)
    exec(code, module.__dict__)


def report_result(module: ModuleType, parameters: dict[str, Any]) -> None:
    """Call `main` with the parameters; its value is the result."""
    main = module.main
    wrong = misfit(main, parameters)
    if wrong:
        report({"mismatch": wrong})
        sys.stderr.write(wrong + "\n")
        sys.exit(1)
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


def misfit(main: Any, parameters: dict[str, Any]) -> str:
    """Why `main` cannot be called with these parameters; empty when it can. (`inspect` would cost a third of a
    start.)"""
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


def report(message: dict[str, Any]) -> None:
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


if __name__ == "__main__":
    main()
