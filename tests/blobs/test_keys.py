"""Keys become safe paths, and keys again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.broker.places.keys import file_of, folder_of, is_of_job, key_of, quoted, unquoted
from pumasi.errors import Invalid

parts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/"), max_size=20) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "%",
        "%_",
        "+",
        "x+",
        ".blob",
        "x.blob",
        "x.part",
        "%2E",
        "y" * 199 + "..",
        "y" * 200 + "..",
        "품" * 300,
    ]
)
keys = st.lists(parts, min_size=1, max_size=5).map("/".join)


@given(keys)
def test_a_key_comes_back(key: str) -> None:
    assert unquoted(quoted(key)) == key
    assert key_of(file_of(key)) == key


@given(keys)
def test_no_name_leads_out_is_hidden_or_too_long(key: str) -> None:
    for part in file_of(key).split("/"):
        assert part and not part.startswith(".") and part.isprintable()
        assert len(part.encode()) < 255
    for part in quoted(key).split("/"):
        assert part not in ("", ".", "..") and part.isprintable()


@given(keys, keys)
def test_no_file_stands_where_another_key_needs_a_folder(one: str, other: str) -> None:
    if one != other:
        assert not f"{file_of(other)}/".startswith(f"{file_of(one)}/")


@given(keys, st.integers(0, 40))
def test_what_begins_with_a_prefix_lies_below_its_folder(key: str, length: int) -> None:
    folder = folder_of(key[:length])
    assert not folder or file_of(key).startswith(f"{folder}/")


def test_names_stay_readable() -> None:
    assert file_of("artifact/a/1/품.png") == "artifact/a/1/품.png.blob"
    assert quoted("artifact/a/1/a:b") == "artifact/a/1/a%3Ab"


def test_a_file_that_is_none_of_ours_has_no_key() -> None:
    assert key_of("result/a/1") is None
    assert key_of("result/a/.0f.part") is None


def test_what_is_no_unicode_is_refused() -> None:
    with pytest.raises(Invalid, match="surrogates"):
        file_of("artifact/a/1/\ud800")


def test_which_keys_are_of_jobs() -> None:
    kinds = ["result/a/1", "artifact/a/1/x", "log/a/1", "script/d", "pumasi/owner", "result/", "result"]
    assert [key for key in kinds if is_of_job(key)] == ["result/a/1", "artifact/a/1/x", "log/a/1"]
