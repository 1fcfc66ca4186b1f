"""The table of `docs/security.md`, from what the tests compare with: `python -m tests.sandbox.hostile.table`."""

from pathlib import Path

from tests.sandbox.hostile.expected import CASES, ELSEWHERE, LEVELS, Case, Expected

PAGE = Path(__file__).parents[3] / "docs" / "security.md"
BEGIN, END = "<!-- from the hostile suite -->", "<!-- end -->"


def render() -> str:
    """Each case at each level, then what is open and why."""
    lines = ["| row | a script that … | " + " | ".join(LEVELS) + " |", "|---|---|" + "---|" * len(LEVELS)]
    cases = sorted(CASES.values(), key=lambda case: case.row)
    lines += [
        f"| {case.row} | {case.title} | {' | '.join(_cell(_at(case, level)) for level in LEVELS)} |" for case in cases
    ]
    lines += [
        "",
        "Tested elsewhere: " + "; ".join(f"{row} {what}: {where}" for row, (what, where) in ELSEWHERE.items()) + ".",
    ]
    lines += ["", "| row | level | what it can do | why |", "|---|---|---|---|"]
    for case in cases:
        for level in LEVELS:
            at = _at(case, level)
            if at.can:
                lines.append(f"| {case.row} | {level} | {', '.join(at.can)}{_whom(at)} | {at.why} |")
    return "\n".join(lines) + "\n"


def _at(case: Case, level: str) -> Expected:
    found: Expected = getattr(case, level)
    return found


def _cell(at: Expected) -> str:
    if at.can:
        return "**open**" + _whom(at)
    if at.cause is None:
        return "held"
    return f"ends: `{at.cause.value}`"


def _whom(at: Expected) -> str:
    return f" (worker as {at.worker})" if at.worker else ""


def between(text: str) -> str:
    return text.partition(f"{BEGIN}\n")[2].partition(END)[0]


def main() -> None:
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(f"{BEGIN}\n")
    PAGE.write_text(f"{before}{BEGIN}\n{render()}{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
