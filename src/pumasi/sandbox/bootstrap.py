"""The first code in a script's process: makes it look as if `python entry.py …` had been typed, and runs it.

Stdlib only, Python >= 3.9; run as `python -I -X utf8 bootstrap.py`. fd 3 holds the payload: mode, folder, entry point,
parameters and arguments, NUL between them. fd 4 is the report pipe, one JSON object a line.

Hardly anything is imported, for every job pays for it (`json` alone would double the start of a small script); and what
is, before the script's folder is on the path, so that a `json.py` beside the script does not get at the harness.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

PAYLOAD, REPORT = 3, 4


def main() -> None:
    """Read what to run, and run it."""
    with os.fdopen(PAYLOAD, encoding="utf-8", newline="") as file:
        mode, folder, entry, parameters, *argv = file.read().split("\0")
    os.set_inheritable(REPORT, False)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log that is followed comes line by line
    sys.argv = [entry, *argv]
    json = import_json(folder) if mode == "return" else None
    sys.path.insert(0, folder)
    # where `main` is called by us, a guard at the end of the file must not run it as well
    module = type(sys)("__pumasi_main__" if json else "__main__")
    module.__file__ = entry
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = sys.modules[module.__name__] = module
    try:
        run(module, entry)
        if json:
            report_result(json, module.main, json.loads(parameters))
    except SystemExit:
        raise
    except BaseException as error:
        show(error)
        if json:
            report(json, {"raised": f"{type(error).__name__}: {error}"[:4000]})
        sys.exit(1)


def import_json(folder: str) -> Any:
    """`json` for ourselves; a script's own module of any name that came with it still wins, as it would without us."""
    before = set(sys.modules)
    import json

    own = {name.partition(".")[0] for name in os.listdir(folder)}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in own:
            del sys.modules[name]
    return json


def run(module: ModuleType, entry: str) -> None:
    """Execute the file in the module's namespace."""
    with open(entry, "rb") as file:
        code = compile(file.read(), entry, "exec", dont_inherit=True)
    exec(code, module.__dict__)


def report_result(json: Any, main: Any, parameters: dict[str, Any]) -> None:
    """Call `main` with the parameters; its value is the result."""
    wrong = misfit(main, parameters)
    if wrong:
        report(json, {"mismatch": wrong})
        sys.stderr.write(wrong + "\n")
        sys.exit(1)
    value = main(**parameters)
    if hasattr(value, "__await__"):
        import asyncio

        value = asyncio.run(as_coroutine(value))
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        report(json, {"unfit": str(error)})
    else:
        report(json, {"result": text})


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


def report(json: Any, message: dict[str, str]) -> None:
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
