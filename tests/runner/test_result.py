"""What counts as a result, rule by rule."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumasi.core.strict import NotStrict
from pumasi.runner.output import Capture
from pumasi.runner.result import Bad, Text, TooLarge, from_output, strict_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def printed(text: str | bytes, *, keep: int = 1_000_000) -> Capture:
    capture = Capture(keep)
    capture.feed(text if isinstance(text, bytes) else text.encode())
    return capture


def found(text: str | bytes, *, asked: bool = False, lenient: bool = False, keep: int = 1_000_000) -> object:
    return from_output(printed(text, keep=keep), asked=asked, lenient=lenient)


@given(VALUES)
def test_whatever_python_writes_strictly_is_kept_as_the_text_it_is(value: object) -> None:
    text = json.dumps(value, allow_nan=False)
    assert strict_text(text) is text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NaN", "NaN"),
        ('{"a": [1, Infinity]}', "Infinity"),
        ("-Infinity", "Infinity"),
        ("1e999", "1e999"),
        ('{"a": 1, "a": 2}', "twice"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udc00": 1}', "surrogate"),
        ("[" * 100_000 + "]" * 100_000, "deeper"),
        ("[" * 300 + "]" * 300, "deeper"),
        ("9" * 5000, "digits"),
        ("[-" + "9" * 5000 + "]", "digits"),
    ],
)
def test_json_that_python_reads_and_others_do_not_is_a_bad_result(text: str, why: str) -> None:
    with pytest.raises(NotStrict, match=why):
        strict_text(text)
    result = found(text)
    assert isinstance(result, Bad)
    assert why in result.why


def test_nesting_is_allowed_up_to_the_limit_and_not_beyond() -> None:
    assert strict_text("[" * 200 + "]" * 200)
    with pytest.raises(NotStrict):
        strict_text("[" * 202 + "]" * 202)


def test_lenient_turns_what_is_no_number_into_null() -> None:
    assert found('{"a": NaN, "b": [1e999, -Infinity], "c": 1.5}', lenient=True) == Text(
        '{"a": null, "b": [null, null], "c": 1.5}'
    )


@pytest.mark.parametrize("text", ["42", '"done"', "null", "true", "  [1,\n 2]\n\n", '{"a": 1}\n'])
def test_the_whole_output_is_the_result_when_it_is_json(text: str) -> None:
    assert found(text) == Text(text.strip())


@pytest.mark.parametrize("last", ['{"pages": 3}', "[1, 2]"])
def test_the_last_non_empty_line_is_the_result_when_it_is_an_object_or_an_array(last: str) -> None:
    assert found(f"page 1\npage 2\n{last}\n\n \n") == Text(last)


@pytest.mark.parametrize(
    "text", ["page 1\n42\n", 'page\n"done"', "hello", "{not json}", "", b"\xff\xfe{}", "[1/10] page"]
)
def test_other_text_is_log_and_there_is_no_result(text: str | bytes) -> None:
    assert found(text) is None


@pytest.mark.parametrize("text", ["hello", "", "page 1\n42", b"\xff"])
def test_other_text_is_a_bad_result_when_json_was_asked_for_and_the_message_names_the_setting(
    text: str | bytes,
) -> None:
    result = found(text, asked=True)
    assert isinstance(result, Bad)
    assert "result" in result.why
    assert "json" in result.why


def test_a_last_line_that_is_not_strict_is_a_bad_result() -> None:
    assert isinstance(found('log\n{"a": NaN}'), Bad)


def test_a_last_line_counts_even_when_what_was_before_it_was_not_kept() -> None:
    assert found("x" * 2000 + "\n" + '{"a": 1}', keep=100) == Text('{"a": 1}')


@pytest.mark.parametrize(("text", "asked"), [("[" + "1," * 5000 + "1]", False), ("x" * 5000, True)])
def test_a_result_beyond_the_limit_is_told_with_its_size(text: str, asked: bool) -> None:
    assert found(text, keep=100, asked=asked) == TooLarge(len(text))


@given(st.binary(max_size=3000))
def test_nothing_that_is_printed_makes_the_reader_fail(data: bytes) -> None:
    for asked in (False, True):
        assert isinstance(found(data, asked=asked), Text | Bad | TooLarge | None)
