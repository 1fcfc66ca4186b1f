"""What people see: tables, facts, short ids, logs with a progress line."""

import io

import pytest

from pumasi.cli import output
from pumasi.cli.follow import LogView, progress_bar
from pumasi.core.job import Record


class Terminal(io.StringIO):
    """A terminal that keeps what it was sent."""

    def isatty(self) -> bool:
        return True


def test_a_plain_table_has_aligned_columns_and_no_trailing_space(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("이름", "n", ""), [("가나다", 5, None), ("a\x1b[1m\nb", 12345, "x")], right=(1,))
    assert capsys.readouterr().out == (
        "이름             n\n"
        "가나다           5\n"
        "a\\x1b[1m\\nb  12345  x\n"
    )  # fmt: skip


def test_facts_leave_out_what_is_empty_and_indent_lines(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts([("id", "0193"), ("empty", None), ("긴 이름", "a\nb\x9b"), ("zero", 0)])
    assert capsys.readouterr().out == "id       0193\n긴 이름  a\n         b\\x9b\nzero     0\n"


def test_json_is_one_line_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": ["한글\x1b"]})
    assert capsys.readouterr().out == '{"a": ["한글\\u001b"]}\n'


def test_ids_are_shortened_to_what_is_unique_but_not_below_13_characters() -> None:
    ids = ["01a1fc3c-7ee1-7557-b741-1", "01a1fc3c-7ee1-7557-b741-2", "01a1fc3c-6695-75ba"]
    assert output.shortened(ids) == {
        ids[0]: "01a1fc3c-7ee1-7557-b741-1",
        ids[1]: "01a1fc3c-7ee1-7557-b741-2",
        ids[2]: "01a1fc3c-6695",
    }
    assert output.shortened(["mine", "mine-too"]) == {"mine": "mine", "mine-too": "mine-too"}
    assert output.shortened([]) == {}


def test_times_in_words() -> None:
    assert output.ago(100.0, 190.0) == "1m30s ago"
    assert output.ago(190.0, 100.0) == "in 1m30s"
    assert output.ago(None, 1.0) is None


def test_a_log_shows_printable_text_and_no_progress_where_nobody_looks() -> None:
    file = io.StringIO()
    with LogView(file) as view:
        view.show(Record(1, 0.0, "stderr", b"\x1b[31mred\n\xff"))
        view.show(Record(2, 0.0, "progress", b'[1, 2, ""]'))
        view.show(Record(3, 0.0, "stdout", b"more\n"))
    assert file.getvalue() == "\\x1b[31mred\n\\xffmore\n"
    assert view.lines == 2


def test_on_a_terminal_the_progress_line_stands_below_the_log() -> None:
    file = Terminal()
    with LogView(file) as view:
        view.show(Record(1, 0.0, "progress", b'[1, 2, "half\\u001b"]'))
        view.show(Record(2, 0.0, "stderr", b"line\n"))
        view.note("ours")
    bar = "━" * 12 + "╌" * 12 + "  50% 1/2 half\\x1b"
    assert file.getvalue() == f"{bar}\r\x1b[2Kline\n{bar}\r\x1b[2Kours\n"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"[3, null, \"pages\"]", "3 pages"),
        (b"[3, 0, \"\"]", "3"),
        (b"[9, 3, \"\"]", "━" * 24 + " 100% 9/3"),
        (b"[-1, 3, \"\"]", "╌" * 24 + "   0% -1/3"),
        (b"nonsense", ""),
        (b"{}", ""),
        (b"[1, \"x\", \"\"]", ""),
    ],
)  # fmt: skip
def test_a_progress_line(data: bytes, shown: str) -> None:
    assert progress_bar(data, columns=80) == shown


def test_a_progress_line_is_never_wider_than_it_may() -> None:
    assert output.width(progress_bar('[1, 2, "아주 긴 설명이 붙은 진행 상황"]'.encode(), columns=45)) <= 45
