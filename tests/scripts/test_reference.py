"""Names of scripts: what may be one, and what never reaches a file system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.errors import Invalid
from pumasi.scripts.base import Reference


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("catalogue", "catalogue", None),
        ("catalogue@1.2", "catalogue", "1.2"),
        ("a.b-c_d", "a.b-c_d", None),
        ("_helper", "_helper", None),
        ("7", "7", None),
        ("x@1.0rc1+local", "x", "1.0rc1+local"),
        ("x" * 128, "x" * 128, None),
    ],
)
def test_names_and_versions(text: str, name: str, version: str | None) -> None:
    reference = Reference.parse(text)
    assert (reference.name, reference.version) == (name, version)
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    ["", "../../etc/x", "/etc/passwd", "a/b", "a\\b", "..", ".", ".hidden", "a..b", "a.", "a\0", "a\n", "a b", "-x",
     "수집", "x@", "@1", "x@../1", "x@1/2", "x@1@2", "x@.", "x@1\n", "x" * 129, "x@" + "1" * 65, "a\u202eb", "$(id)",
     pytest.param("x" * 10**6, id="endless")],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        Reference.parse(text)
    message = str(caught.value)
    assert len(message) < 400
    assert message.isprintable()


@given(st.text(max_size=40))
def test_a_name_is_never_a_path(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except Invalid:
        return
    for part in (reference.name, reference.version or "x"):
        assert not set(part) & set("/\\\0\n ")
        assert part not in (".", "..")
