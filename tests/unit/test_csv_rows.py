"""CSV to items: a table of rules, each with its source, and laws over every text and every way to cut its bytes."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maprun.core import csv_rows, lines
from maprun.core.csv_rows import DUPLICATES, ROWS, rows
from maprun.core.decoding import MAX_ITEM
from maprun.errors import RunFailed, StatesError

ABC = ("a", "b", "c")
PLACE = "The dataset cannot be read as CSV at line"


def read(chunks: Iterable[bytes], delimiter: str = ",", headers: Sequence[str] | None = ABC) -> tuple[list[Any], str]:
    """The items, and the cause of the error behind them."""
    items: list[Any] = []
    try:
        for block in rows(chunks, delimiter, headers):
            assert 0 < len(block) <= ROWS
            items += block
    except RunFailed as failed:
        return items, str(failed).removeprefix(f"{StatesError.ITEM_READER_FAILED.value}: ")
    return items, ""


def cells(data: bytes, delimiter: str = ",") -> list[tuple[str, ...]]:
    """The three cells of each row of a file without headers, however its bytes are cut."""
    items, wrong = read([data], delimiter)
    assert not wrong
    assert read((data[i : i + 1] for i in range(len(data))), delimiter) == (items, "")
    assert all(tuple(item) == ABC for item in items)
    return [tuple(item.values()) for item in items]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"1,2,3\n4,5,6\n", [("1", "2", "3"), ("4", "5", "6")], id="cells are strings (§1.3)"),
        pytest.param(b"1,2,3", [("1", "2", "3")], id="the last line needs no line break"),
        pytest.param(b"1,2\n", [("1", "2", "")], id="a short row is filled up (§1.4)"),
        pytest.param(b"1,2,3,4,5\n", [("1", "2", "3")], id="a long row is cut (§1.4)"),
        pytest.param(b",,,\n", [("", "", "")], id="a row of nothing but delimiters (recorded)"),
        pytest.param(b"   \n", [("   ", "", "")], id="a row of blanks (recorded)"),
        pytest.param(b"1\n\n2\n", [("1", "", ""), ("", "", ""), ("2", "", "")], id="an empty line is one empty cell"),
        pytest.param(b"1\n\n", [("1", "", ""), ("", "", "")], id="an empty line at the end is one, too"),
        pytest.param(b"\n1\n", [("", "", ""), ("1", "", "")], id="an empty line at the beginning"),
        pytest.param(b"", [], id="an empty file has no rows"),
        pytest.param(b"1,2,3\r\n4,5,6\r\n", [("1", "2", "3"), ("4", "5", "6")], id="CRLF (recorded)"),
        pytest.param(b"1,2,3\r4,5,6\r", [("1", "2", "3"), ("4", "5", "6")], id="CR alone"),
        pytest.param(b'1\n2\r3\r\n"4\r5"\n', [("1", "", ""), ("2", "", ""), ("3", "", ""), ("4\r5", "", "")], id="all"),
        pytest.param(b' 1 ,2 ," 3"\n', [(" 1 ", "2 ", " 3")], id="blanks belong to the cell"),
        pytest.param(b"true,1,'Hello'\n", [("true", "1", "'Hello'")], id="single quotes are no quotes (recorded)"),
        pytest.param(b"Null,None,\n", [("Null", "None", "")], id="no word is special (recorded)"),
        pytest.param(b'"a,b","c\nd","e\r\nf"\n', [("a,b", "c\nd", "e\r\nf")], id="quotes keep delimiter and breaks"),
        pytest.param(b'"two ""quoted""",""\n', [('two "quoted"', "", "")], id='"" in quotes is a quote (RFC 4180)'),
        pytest.param(b'"""",""""""\n', [('"', '""', "")], id="a cell of nothing but quotes"),
        pytest.param(
            b'abc,"a (""), and (\n)",{""MyKey"":""MyValue""}\n',
            [("abc", 'a ("), and (\n)', '{"MyKey":"MyValue"}')],
            id='"" outside of quotes is a quote, too (example of the documentation)',
        ),
        pytest.param(b'5" pipe,3" nail\n', [('5" pipe', '3" nail', "")], id="one quote within a cell is a character"),
        pytest.param(b'"a"b"c,d\n', [('ab"c', "d", "")], id="text behind a closing quote belongs to the cell"),
        pytest.param(b'"a"\\,b\n', [("a\\", "b", "")], id="its first character as it is"),
        pytest.param(b'""abc""\n', [('abc"', "", "")], id="an empty quoted cell with text behind"),
        pytest.param(rb"a\,b,c\"d,e\\f" + b"\n", [("a,b", 'c"d', "e\\f")], id="what a backslash escapes (§1.4)"),
        pytest.param(rb"C:\temp\x,\a" + b"\n", [("C:tempx", "a", "")], id="any other backslash is dropped (§1.4)"),
        pytest.param(b"a\\|b\\,c\n", [("a|b,c", "", "")], id="another delimiter is no delimiter"),
        pytest.param(rb'"a\"b,\\",c' + b"\n", [('a"b,\\', "c", "")], id="backslashes in quotes"),
        pytest.param(rb"\"a\",b" + b"\n", [('"a"', "b", "")], id="an escaped quote opens nothing"),
        pytest.param(b"a\\\nb\\\r\nc\\", [("a", "", ""), ("b", "", ""), ("c", "", "")], id="none escapes a line break"),
        pytest.param(b'"a\\\nb"\n', [("a\nb", "", "")], id="in quotes it leaves the line break there"),
        pytest.param("ä,\u2028,\x0b\x1c\x85\n".encode(), [("ä", "\u2028", "\x0b\x1c\x85")], id="no other line breaks"),
        pytest.param(b"a\x00b,c\n", [("a\x00b", "c", "")], id="NUL is a character"),
        pytest.param(b"\xef\xbb\xbf1,2\n", [("1", "2", "")], id="a byte order mark is dropped"),
        pytest.param(b'\xef\xbb\xbf"1,2"\n', [("1,2", "", "")], id="a byte order mark before a quote"),
        pytest.param(b"1,\xef\xbb\xbf2\n", [("1", "\ufeff2", "")], id="only at the beginning"),
    ],
)
def test_rows(data: bytes, expected: list[tuple[str, ...]]) -> None:
    assert cells(data) == expected


@pytest.mark.parametrize("delimiter", [",", "|", ";", " ", "\t"], ids=["comma", "pipe", "semicolon", "space", "tab"])
def test_each_delimiter_divides_and_can_be_protected(delimiter: str) -> None:
    data = 'a|b,c\n"x|y"|\\||z\n|\n'.replace("|", delimiter).encode()
    rest = [("x" + delimiter + "y", delimiter, "z"), ("", "", "")]
    assert cells(data, delimiter) == [("a", "b,c", "") if delimiter != "," else ("a", "b", "c"), *rest]


@pytest.mark.parametrize(
    ("data", "headers", "items"),
    [
        pytest.param(b"x,y\n1,2\n", None, [{"x": "1", "y": "2"}], id="the first row"),
        pytest.param(
            b"x,y\n1,2\n", ["p", "q"], [{"p": "x", "q": "y"}, {"p": "1", "q": "2"}], id="given: it is an item"
        ),
        pytest.param(b"0,True,{}\n1,2,3\n", None, [{"0": "1", "True": "2", "{}": "3"}], id="verbatim (recorded)"),
        pytest.param(b"H1,\n1,2\n", None, [{"H1": "1", "": "2"}], id="an empty name (recorded)"),
        pytest.param(b" a, A\n1,2\n", None, [{" a": "1", " A": "2"}], id="blanks and case tell names apart"),
        pytest.param(b'"a\nb","c,d"\n1,2\n', None, [{"a\nb": "1", "c,d": "2"}], id="quoted names"),
        pytest.param(b"\n1,2\n", None, [{"": "1"}], id="an empty first line is one empty name"),
        pytest.param(b"x,y\n", None, [], id="a first row alone"),
        pytest.param(b"x,y", None, [], id="a first row alone, without a line break"),
        pytest.param(b"", None, [], id="no first row"),
        pytest.param(b"\xef\xbb\xbfx\n1\n", None, [{"x": "1"}], id="a byte order mark is part of no name"),
    ],
)
def test_headers(data: bytes, headers: list[str] | None, items: list[dict[str, str]]) -> None:
    assert read([data], ",", headers) == (items, "")


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        pytest.param(b"1,2,3\n", ["H1", "H1", "H3"], id="given (recorded)"),
        pytest.param(b"", ["H1", "H1"], id="given, and nothing to read"),
        pytest.param(b"a,b,a\n1,2,3\n", None, id="in the first row (§1.4)"),
        pytest.param(b"a,,\n1,2,3\n", None, id="two empty ones"),
    ],
)
def test_duplicate_headers_fail_in_the_words_of_aws(data: bytes, headers: list[str] | None) -> None:
    assert read([data], ",", headers) == ([], "CSV headers cannot contain duplicates.")
    assert DUPLICATES == "CSV headers cannot contain duplicates."


@pytest.mark.parametrize(
    ("data", "before", "cause"),
    [
        pytest.param(b"1\n2,\xff\n", 1, f"{PLACE} 2: byte 4 of the file, 0xff, is not UTF-8.", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf1\n\xff", 1, f"{PLACE} 2: byte 5 of the file, 0xff, is not UTF-8.", id="a mark"),
        pytest.param(b"1\n2\xc3", 1, f"{PLACE} 2: byte 3 of the file, 0xc3, is not UTF-8.", id="UTF-8 that is cut off"),
        pytest.param(
            b'1\n"a\nb\n\xff"\n', 1, f"{PLACE} 4: byte 7 of the file, 0xff, is not UTF-8.", id="the line within a row"
        ),
        pytest.param("ä\n".encode("latin-1"), 0, f"{PLACE} 1: byte 0 of the file, 0xe4, is not UTF-8.", id="Latin-1"),
        pytest.param(b'1\n2,"a\nb\n', 1, f"{PLACE} 2: a quote is opened and never closed.", id="an open quote"),
        pytest.param(b'1\r2\r"', 2, f"{PLACE} 3: a quote is opened and never closed.", id="lines of an old Mac"),
        pytest.param(b'"a\\"\n', 0, f"{PLACE} 1: a quote is opened and never closed.", id="an escaped closing quote"),
        pytest.param(b"1\n" + b"x" * (MAX_ITEM + 1), 1, f"{PLACE} 2: a row is larger than 8 MiB.", id="a long line"),
        pytest.param(b"1\n" + b"x" * (9 << 20) + b"\n2\n", 1, f"{PLACE} 2: a row is larger than 8 MiB.", id="and more"),
        pytest.param(b'1\n"' + b"x\n" * (5 << 20), 1, f"{PLACE} 2: a row is larger than 8 MiB.", id="left open"),
        pytest.param(
            b'1\n"' + b"x\n" * (1 << 22) + b'"\n2\n', 1, f"{PLACE} 2: a row is larger than 8 MiB.", id="a row of lines"
        ),
        pytest.param(b"1\n" + "ä".encode() * (1 << 22) + b"!\n", 1, f"{PLACE} 2: a row is larger than 8 MiB.",
                     id="bytes are counted, not characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_comes_behind_the_rows_before_it(data: bytes, before: int, cause: str) -> None:
    for size in (len(data), 1 << 18, 100_001):
        items, wrong = read(data[at : at + size] for at in range(0, len(data), size))
        assert (len(items), wrong) == (before, cause)
        assert items == [{"a": str(number), "b": "", "c": ""} for number in range(1, before + 1)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n1\n", b"\r\n1\r\n"])
@pytest.mark.parametrize(
    ("row", "cell"),
    [
        pytest.param(b"x" * MAX_ITEM, "x" * MAX_ITEM, id="of one line"),
        pytest.param(b'"' + b"x\n" * (MAX_ITEM // 2 - 1) + b'"', "x\n" * (MAX_ITEM // 2 - 1), id="of many lines"),
    ],
)
def test_a_row_of_exactly_the_limit_is_read(row: bytes, cell: str, end: bytes) -> None:
    items, wrong = read([row + end])
    assert wrong == ""
    assert items[0]["a"] == cell
    assert len(items) == 1 + end.count(b"1")


def test_a_cell_beyond_the_limit_of_the_csv_module_is_read() -> None:
    cell = "x" * (csv.field_size_limit() + 1)
    assert read([f'1\n"{cell}",2\n3\n'.encode()]) == (
        [{"a": "1", "b": "", "c": ""}, {"a": cell, "b": "2", "c": ""}, {"a": "3", "b": "", "c": ""}],
        "",
    )


def test_blocks_are_small_and_come_as_reading_goes_on() -> None:
    taken = 0

    def chunks() -> Iterable[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"1,2,3\n" * 10_000

    blocks = rows(chunks(), ",", ABC)
    assert len(next(blocks)) == ROWS
    assert taken == 2


# ------------------------------------------------------------------------------------------------------------ laws

LETTERS = st.sampled_from(["a", "b", '"', '"', "\\", ",", ";", "\n", "\r", "\r\n", " ", "é"])
TEXTS = st.lists(LETTERS, max_size=60).map("".join)
CUTS = st.lists(st.integers(0, 100), max_size=8)
WIDE = tuple(map(str, range(80)))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def quoted(text: str, at: int) -> tuple[str, int]:
    """What is in the quotes that open before this character, and the place behind them; IndexError: they stay open."""
    cell = ""
    while True:
        char = text[at]
        at += 1
        if char == '"' and text[at : at + 1] != '"':
            return cell, at
        if char in '"\\':
            char = text[at]
            at += 1
        cell += char


def plain(text: str, at: int, ends: str) -> tuple[str, int]:
    """A cell without quotes around it, and the place of what ends it."""
    cell = ""
    while at < len(text) and text[at] not in ends:
        char = text[at]
        at += 1
        if char == '"':
            at += text[at : at + 1] == '"'
        elif char == "\\":
            char = "" if text[at : at + 1] in ("", "\r", "\n") else text[at]
            at += len(char)
        cell += char
    return cell, at


def reference(text: str, delimiter: str) -> tuple[list[list[str]], bool]:
    """The rules, a character at a time; and whether the file ends within quotes."""
    found: list[list[str]] = []
    row: list[str] = []
    at = 0
    while at < len(text) or row:
        cell = ""
        if text[at : at + 1] == '"':
            try:
                cell, at = quoted(text, at + 1)
            except IndexError:
                return found, True
            if at < len(text) and text[at] not in delimiter + "\r\n":
                cell, at = cell + text[at], at + 1
        rest, at = plain(text, at, delimiter + "\r\n")
        row.append(cell + rest)
        if text[at : at + 1] != delimiter:
            found.append(row)
            row = []
            at += text.startswith("\r\n", at)
        at += 1
    return found, False


@settings(max_examples=1000)
@given(TEXTS, CUTS, st.sampled_from([1, 3, 8, 1 << 16]), st.sampled_from([",", ";", " "]))
@example('a""b,"c""d"\n', [], 1 << 16, ",")
@example('"a\nb",c\nd\n', [], 8, ",")
@example("a\\\nb\\", [], 1 << 16, ",")
@example("\ra\r\nb\r", [1], 1, ",")
@example('"\\', [], 1 << 16, ",")
def test_every_text_is_read_by_the_rules_however_it_is_cut(
    text: str, cuts: list[int], size: int, delimiter: str
) -> None:
    expected, open_quote = reference(text, delimiter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "SIZE", size)
        items, wrong = read(cut(text.encode(), cuts), delimiter, WIDE)
    assert [list(item.values()) for item in items] == [(row + [""] * len(WIDE))[: len(WIDE)] for row in expected]
    assert ("never closed" in wrong) == open_quote, wrong


@settings(max_examples=300)
@given(TEXTS, st.sampled_from([",", ";"]))
def test_the_quick_ways_give_what_the_rules_give(text: str, delimiter: str) -> None:
    """Block by block, so that the rest that they leave is the same, too."""
    quick = csv_rows._quick(text, delimiter)
    if quick:
        careful = csv_rows._careful(text, delimiter)
        assert ([row or [""] for row in quick.rows], quick.end) == (careful.rows, careful.end)


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\\"), max_size=6)


@given(
    st.lists(st.lists(PLAIN, min_size=1, max_size=5), max_size=12),
    CUTS,
    st.sampled_from(",|; \t"),
    st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), *((csv.QUOTE_ALL, end) for end in ("\n", "\r\n", "\r"))]),
)
def test_what_the_csv_module_writes_comes_back(
    table: list[list[str]], cuts: list[int], delimiter: str, form: tuple[Any, str]
) -> None:
    file = io.StringIO(newline="")
    quoting, end = form
    csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(table)
    data = file.getvalue().encode()
    items, wrong = read(cut(b"\xef\xbb\xbf" + data, cuts), delimiter, WIDE)
    assert wrong == ""
    assert [list(item.values())[:5] for item in items] == [(row + [""] * 5)[:5] for row in table]


@given(st.lists(LETTERS, max_size=30).map(lambda each: "".join(each).encode()), CUTS, st.integers(0, 40))
def test_an_error_is_the_same_however_the_bytes_are_cut(data: bytes, cuts: list[int], at: int) -> None:
    broken = data[:at] + b"\xff" + data[at:]
    assert read(cut(broken, cuts)) == read([broken])


@given(st.binary(max_size=300), CUTS, st.sampled_from([1, 7, 64]), st.booleans())
def test_blocks_are_the_same_bytes_and_end_with_a_line(data: bytes, cuts: list[int], size: int, old_mac: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "SIZE", size)
        blocks = list(lines.blocks(cut(data, cuts), 1000, old_mac))
    assert b"".join(blocks) == data
    assert all(block.endswith((b"\n", b"\r") if old_mac else b"\n") for block in blocks[:-1])
    assert not any(a.endswith(b"\r") and b.startswith(b"\n") for a, b in itertools.pairwise(blocks))
