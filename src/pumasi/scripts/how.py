"""How a script is run, and what counts as its result: read off its source, without running it.

In this order: what the manifest or the job says; a top-level `main` that nothing in the file calls (`return`);
arguments given (`none`); otherwise `json`. The classic `def main(): … if __name__ == "__main__": main()` is a program
like any other, and so is a file that calls its own `main` without a guard: calling it once more would run it twice.

What a `command` runs is no Python, and nothing of it is read.
"""

import ast
from collections.abc import Iterator
from functools import lru_cache

from pumasi.core.job import ResultMode
from pumasi.errors import Invalid
from pumasi.scripts.source import parse


def how_to_run(source: str, mode: ResultMode | None, args_given: bool) -> ResultMode:
    """The mode a run of `source` is made in.

    `mode` is what the manifest or the job says, if anything. An `async def main` counts as a `main`; whoever calls it
    runs it with `asyncio.run`. A source that does not parse is not judged here: it has no `main`.
    """
    if mode is not None:
        return mode
    if has_bare_main(source):
        return "return"
    return "none" if args_given else "json"


def how_to_run_program(mode: ResultMode | None, args_given: bool) -> ResultMode:
    """The mode a run of a `command` is made in; `mode` is what the manifest or the job says, if anything.

    Raises:
        Invalid: that is `return`.
    """
    if mode == "return":
        raise Invalid("a command has no main whose value could be returned")
    return mode or ("none" if args_given else "json")


@lru_cache(maxsize=256)
def has_bare_main(source: str) -> bool:
    """Whether the file defines `main` at its top level, has no `__main__` guard, and does not use `main` there."""
    if "main" not in source:
        return False
    try:
        statements = list(_top_level(parse(source, "main").body))
    except Invalid:
        return False
    defined = any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main" for node in statements
    )
    return defined and not any(_is_guard(node) or _uses_main(node) for node in statements)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module does, those inside `if`, `try` and the like included."""
    stack = list(reversed(body))
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for field in ("body", "handlers", "orelse", "finalbody", "cases"):
            for child in getattr(node, field, ()):
                if isinstance(child, ast.stmt):
                    stack.append(child)
                elif isinstance(child, ast.ExceptHandler | ast.match_case):
                    stack.extend(child.body)


def _is_guard(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`, either way round, alone or as a part of the condition."""
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Compare)
        and any(isinstance(side, ast.Name) and side.id == "__name__" for side in (part.left, *part.comparators))
        for part in ast.walk(node.test)
    )


def _uses_main(node: ast.stmt) -> bool:
    """`main()`, `sys.exit(main())`, `typer.run(main)` as a statement of the file itself."""
    if not isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Raise):
        return False
    return any(
        isinstance(part, ast.Name) and part.id == "main" and isinstance(part.ctx, ast.Load) for part in ast.walk(node)
    )
