"""The table of `docs/security.md`, from what the tests compare with: `python -m tests.sandbox.hostile.table`."""

from pathlib import Path

from tests.sandbox.hostile.expected import CASES, ELSEWHERE, LEVELS, Case, Expected

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
BEGIN, END = "<!-- from the hostile suite -->", "<!-- end -->"


def render() -> str:
    """Each case at each level, then what is open and why."""
    cases = sorted(CASES.values(), key=lambda case: case.row)
    lines = ["| row | a script that … | " + " | ".join(LEVELS) + " |", "|---|---|" + "---|" * len(LEVELS)]
    for case in cases:
        lines.append(f"| {case.row} | {case.title} | {' | '.join(_cell(case, level) for level in LEVELS)} |")
    elsewhere = "; ".join(f"{row} {what}: {where}" for row, (what, where) in ELSEWHERE.items())
    lines += ["", f"Tested elsewhere: {elsewhere}."]
    lines += ["", "| row | level | what it can do | why |", "|---|---|---|---|"]
    for case in cases:
        for at, levels in _openings(case).items():
            lines.append(f"| {case.row} | {', '.join(levels)} | {_deeds(at)} | {at.why} |")
    return "\n".join(lines) + "\n"


def _cell(case: Case, level: str) -> str:
    """One word, and another where the worker is not root."""
    root, user = (_word(case.at(level, root=root)) for root in (True, False))
    return root if level == "full" or user == root else f"{root}; not as root: {user}"


def _word(at: Expected) -> str:
    if at.cause is not None:
        return f"ends: `{at.cause.value}`"
    return "**open**" if at.can else "**it depends**" if at.may else "held"


def _openings(case: Case) -> dict[Expected, list[str]]:
    """What is open, and at which levels it is the same."""
    found: dict[Expected, list[str]] = {}
    for level in LEVELS:
        root, user = case.at(level, root=True), case.at(level, root=False)
        if root == user or level == "full":
            found.setdefault(root, []).append(level)
        else:
            found.setdefault(root, []).append(f"{level} as root")
            found.setdefault(user, []).append(f"{level} not as root")
    return {at: levels for at, levels in found.items() if at.why}


def _deeds(at: Expected) -> str:
    some = [f"on some machines: {', '.join(at.may)}"] if at.may else []
    if at.cause is not None:
        some.append(f"end as `{at.cause.value}`")
    return "; ".join([*([", ".join(at.can)] if at.can else []), *some])


def between(text: str) -> str:
    return text.partition(f"{BEGIN}\n")[2].partition(END)[0]


def main() -> None:
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(f"{BEGIN}\n")
    PAGE.write_text(f"{before}{BEGIN}\n{render()}{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
