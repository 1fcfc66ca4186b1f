"""How a script is run: the order of the rules, and what counts as a `main` of its own."""

import pytest

from pumasi.core.job import ResultMode
from pumasi.errors import Invalid
from pumasi.scripts.how import how_to_run, how_to_run_program

BARE = "def main(page=1):\n    return page\n"
GUARDED = BARE + 'if __name__ == "__main__":\n    main()\n'


@pytest.mark.parametrize("mode", ["json", "json-lenient", "return", "none"])
@pytest.mark.parametrize("source", [BARE, GUARDED, "print(1)", "def f(:"])
@pytest.mark.parametrize("args", [True, False])
def test_what_is_said_wins(mode: ResultMode, source: str, args: bool) -> None:
    assert how_to_run(source, mode, args) == mode


@pytest.mark.parametrize("args", [True, False])
@pytest.mark.parametrize(
    "source",
    [
        BARE,
        "async def main():\n    return 1\n",
        "import x\n\n@x.timed\ndef main(**parameters):\n    return 1\n",
        "try:\n    import x\nexcept ImportError:\n    x = None\nelse:\n    def main():\n        return x\n",
        "def main():\n    return main.__name__\n",
        "def main():\n    pass\n\nclass A:\n    def f(self):\n        main()\n",
        "def main():\n    pass\n\ndef other():\n    if __name__ == '__main__':\n        main()\n",
        "x = '\\d'\n" + BARE,
    ],
)
def test_a_main_that_nothing_calls(source: str, args: bool) -> None:
    assert how_to_run(source, None, args) == "return"


@pytest.mark.parametrize(
    "source",
    [
        GUARDED,
        BARE + "if '__main__' == __name__:\n    main()\n",
        BARE + "import sys\nif __name__ == '__main__' and len(sys.argv) > 1:\n    main()\n",
        BARE + "try:\n    if __name__ == '__main__':\n        main()\nfinally:\n    pass\n",
        BARE + "main()\n",
        BARE + "import sys\nsys.exit(main())\n",
        BARE + "raise SystemExit(main())\n",
        BARE + "import asyncio\nresult = asyncio.run(main())\n",
        BARE + "import typer\ntyper.run(main)\n",
        BARE + "with open('x') as file:\n    main()\n",
        BARE + "match 1:\n    case 1:\n        main()\n",
        "class A:\n    def main(self):\n        pass\n",
        "def outer():\n    def main():\n        pass\n",
        "main = lambda: 1\n",
        "from other import main\n",
        "print('main')\n",
        "",
        "def main(:\n",
        "def main(): " + "-" * 100_000 + "1",
    ],
)
def test_everything_else_is_a_program(source: str) -> None:
    assert how_to_run(source, None, args_given=True) == "none"
    assert how_to_run(source, None, args_given=False) == "json"


@pytest.mark.parametrize("args", [True, False])
def test_a_program_that_is_not_python_is_not_read(args: bool) -> None:
    assert how_to_run_program(None, args) == ("none" if args else "json")
    for mode in ("json", "json-lenient", "none"):
        assert how_to_run_program(mode, args) == mode
    with pytest.raises(Invalid, match="no main"):
        how_to_run_program("return", args)
