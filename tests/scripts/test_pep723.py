"""The PEP 723 block: what counts as one, in the PEP's own terms."""

import pytest

from pumasi.errors import Invalid
from pumasi.scripts.pep723 import read_block

BLOCK = '# /// script\n# dependencies = ["httpx2"]\n#\n# [tool.pumasi]\n# memory_limit = "1GB"\n# ///\n'


def test_a_block() -> None:
    assert read_block(f"#!/usr/bin/env python3\n{BLOCK}import os\n", "x.py") == {
        "dependencies": ["httpx2"],
        "tool": {"pumasi": {"memory_limit": "1GB"}},
    }


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_of_other_systems(end: str) -> None:
    assert read_block(BLOCK.replace("\n", end), "x.py")["dependencies"] == ["httpx2"]


def test_a_block_at_the_very_end() -> None:
    assert read_block("import os\n" + BLOCK.rstrip("\n"), "x.py")["dependencies"] == ["httpx2"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import os\n",
        "# /// script\n# a = 1\n",  # not closed
        "# /// script\n#a = 1\n# ///\n",  # no space after the hash
        "# /// other\n# a = 1\n# ///\n",
        " # /// script\n # a = 1\n # ///\n",
        "# ///script\n# a = 1\n# ///\n",
        "# /// script\n# ///\n",  # empty
    ],
)
def test_what_is_none(source: str) -> None:
    assert read_block(source, "x.py") == {}


def test_the_last_closing_line_of_a_comment_counts() -> None:
    # As the PEP has it: the block is as long as it can be.
    with pytest.raises(Invalid, match=r"x\.py.*no valid TOML"):
        read_block("# /// script\n# a = 1\n# ///\n# more\n# ///\n", "x.py")


def test_two_blocks() -> None:
    with pytest.raises(Invalid, match="has 2 '# /// script' blocks"):
        read_block(f"{BLOCK}\n\n{BLOCK}", "x.py")


def test_no_toml() -> None:
    with pytest.raises(Invalid, match=r"x\.py.*no valid TOML.*line 1"):
        read_block("# /// script\n# a =\n# ///\n", "x.py")


def test_strings_with_unusual_line_separators() -> None:
    assert read_block('# /// script\n# a = "x\u2028y"\n# ///\n', "x.py") == {"a": "x\u2028y"}


@pytest.mark.parametrize(
    "source",
    [
        "# /// script\n" * 200_000,
        "# /// script\n" + "# a\n" * 300_000,
        "# /// script\n# a = " + "[" * 100_000 + "\n# ///\n",
        "# /// script\n# a = " + "9" * 10_000 + "\n# ///\n",
        "# /// script\n" + "# a = 1\n" * 100_000 + "# ///\n",
    ],
    ids=["openings", "unclosed", "nested", "digits", "long"],
)
def test_hostile_blocks_cost_little(source: str) -> None:
    try:
        assert read_block(source, "x.py") == {}
    except Invalid as error:
        assert str(error).startswith("x.py")
