"""JSON Lines to items: rows for each rule, and laws over values and every way to cut their bytes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import jsonl, lines
from maprun.core.decoding import MAX_ITEM
from maprun.errors import RunFailed, StatesError
from tests.unit.test_decoding import CUTS, VALUES, cut

PLACE = "The dataset cannot be read as JSON at"


def read(chunks: Iterable[bytes]) -> tuple[list[Any], str]:
    """The items, and the cause of the error behind them."""
    items: list[Any] = []
    try:
        for block in jsonl.values(chunks):
            assert 0 < len(block) <= jsonl.VALUES
            items += block
    except RunFailed as failed:
        return items, str(failed).removeprefix(f"{StatesError.ITEM_READER_FAILED.value}: ")
    return items, ""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b'{"n":1}\n{"n":2}\n', [{"n": 1}, {"n": 2}], id="one value a line"),
        pytest.param(b"1\n2", [1, 2], id="the last line needs no line feed"),
        pytest.param(b'1\n"a"\nnull\n[true,{}]\n', [1, "a", None, [True, {}]], id="values of any kind"),
        pytest.param(b"1\r\n2\r\n", [1, 2], id="CRLF"),
        pytest.param(b" 1 \n\t2\n", [1, 2], id="white space around a value"),
        pytest.param(b'{"a":\r1}\n', [{"a": 1}], id="a carriage return ends no line"),
        pytest.param(b"\n1\n\n  \r\n2\n\n", [1, 2], id="lines of white space are passed over"),
        pytest.param(b"", [], id="an empty file"),
        pytest.param(b"\n", [], id="an empty line"),
        pytest.param(b"\xef\xbb\xbf1\n2\n", [1, 2], id="a byte order mark"),
        pytest.param(b"1\n\xef\xbb\xbf2\n", [1, 2], id="of a file that was put behind another"),
        pytest.param('"ä\u2028\x7f"\n'.encode(), ["ä\u2028\x7f"], id="no other character ends a line"),
        pytest.param(b'"\\ud83d\\ude00"\n', ["😀"], id="a pair of surrogates"),
        pytest.param(b'"\\ud800"\n', ["\ud800"], id="half a pair: for whoever writes it to refuse"),
        pytest.param(b'{"a":1,"a":2}\n', [{"a": 2}], id="the last of two members with one name"),
        pytest.param(
            b"9223372036854775808\n18446744073709551616\n-123456789012345678901234567890\n",
            [2**63, 2**64, -123456789012345678901234567890],
            id="integers beyond 64 bits are exact",
        ),
        pytest.param(b"1.0\n1e2\n-0.0\n1e-400\n", [1.0, 100.0, -0.0, 0.0], id="other numbers are doubles"),
    ],
)
def test_lines(data: bytes, expected: list[Any]) -> None:
    assert repr(read([data])) == repr((expected, ""))
    assert repr(read(data[i : i + 1] for i in range(len(data)))) == repr((expected, ""))


@pytest.mark.parametrize(
    ("data", "items", "cause"),
    [
        pytest.param(b"1\n{\n", [1], "line 2, byte 3: expecting property name", id="a value over several lines"),
        pytest.param(
            b'1\n{"a":\n2}\n', [1], "line 2, byte 7: expecting value; found the end of the line", id="cut off"
        ),
        pytest.param(b"1 2\n", [], "line 1, byte 2: found '2' behind", id="two values in a line"),
        pytest.param(b'{"a":1}{"a":2}\n', [], "line 1, byte 7: found '{' behind", id="two objects in a line"),
        pytest.param(b"1,\n", [], "line 1, byte 1: found ',' behind", id="commas between lines"),
        pytest.param(b"1\n\n\nNaN\n", [1], "line 4, byte 4: NaN is not a JSON number", id="NaN"),
        pytest.param(b"-Infinity\n", [], "line 1, byte 0: -Infinity is not a JSON number", id="Infinity"),
        pytest.param(b"1e999\n", [], "line 1, byte 0: the number 1e999 is too large", id="a number beyond doubles"),
        pytest.param(b"9" * 5000, [], "byte 0: an integer has more than 4,300 digits", id="a very long integer"),
        pytest.param(b'1\n"\xff"\n', [1], "line 2, byte 3: byte 0xff is not UTF-8", id="not UTF-8"),
        pytest.param(b'\xef\xbb\xbf1\n"\xff"\n', [1], "line 2, byte 6: byte 0xff is not UTF-8", id="behind a mark"),
        pytest.param(b'"a\tb"\n', [], "line 1, byte 2: invalid control character", id="a tab in a string"),
        pytest.param(b'"a\n', [], "line 1, byte 0: unterminated string; it does not end", id="an open string"),
        pytest.param(b"a,b\n1,2\n", [], "line 1, byte 0: expecting value; found 'a'", id="CSV"),
        pytest.param(b"[" * 100_000, [], "line 1, byte 0: the value is nested too deeply", id="very deep"),
        pytest.param(b"1\n\x0b\n", [1], "line 2, byte 2: expecting value", id="no other white space"),
        pytest.param(
            b"1\n" + b" " * MAX_ITEM + b"2\n", [1], "line 2, byte 2: it has more than 8 MiB", id="a long line"
        ),
        pytest.param(b'1\n"' + b"x" * (9 << 20), [1], "line 2, byte 2: it has more than 8 MiB", id="without an end"),
    ],
)
def test_what_is_wrong_comes_behind_the_values_before_it(data: bytes, items: list[Any], cause: str) -> None:
    for size in (len(data), 1 << 18, 100_001):
        found, wrong = read(data[at : at + size] for at in range(0, len(data), size))
        assert found == items
        assert wrong.startswith(PLACE)
        assert cause in wrong


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r\n1\n"])
def test_a_line_of_exactly_the_limit_is_read(end: bytes) -> None:
    items, wrong = read([b'"' + b"x" * (MAX_ITEM - 2) + b'"' + end])
    assert (len(items[0]), wrong) == (MAX_ITEM - 2, "")
    assert items[1:] == [1] * end.count(b"1")


@given(st.lists(VALUES, max_size=12), CUTS, st.booleans(), st.sampled_from([1, 9, 1 << 16]))
def test_values_come_back_however_the_bytes_are_cut(values: list[Any], cuts: list[int], ascii: bool, size: int) -> None:
    data = "".join(json.dumps(value, ensure_ascii=ascii) + "\n" for value in values).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "SIZE", size)
        assert repr(read(cut(data, cuts))) == repr((values, ""))


@given(st.lists(VALUES, max_size=8), CUTS, st.integers(0, 60), st.sampled_from([b"\xff", b"}", b"\n,\n", b'"', b"NaN"]))
def test_an_error_is_the_same_however_the_bytes_are_cut(
    values: list[Any], cuts: list[int], at: int, wrong: bytes
) -> None:
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    broken = data[:at] + wrong + data[at:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "SIZE", 8)
        assert repr(read(cut(broken, cuts))) == repr(read([broken]))


def test_blocks_come_as_reading_goes_on() -> None:
    taken = itertools.count()
    blocks = jsonl.values(b"1\n" * 50_000 for _ in range(100) if next(taken) >= 0)
    assert len(next(blocks)) == jsonl.VALUES
    assert next(taken) == 1
