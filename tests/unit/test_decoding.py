"""Bytes to items: laws over every way to cut the bytes, and rows for what is wrong with a file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import decoding
from maprun.core.decoding import NOT_ITERABLE, items
from maprun.errors import RunFailed, StatesError

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = (
    st.none() | st.booleans() | TEXT | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
CUTS = st.lists(st.integers(0, 400), max_size=30)


def encoded(value: Any, spaced: bool = False, escaped: bool = False) -> bytes:
    return json.dumps(value, indent=2 if spaced else None, ensure_ascii=escaped).encode()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def bytewise(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


@given(st.lists(VALUES, max_size=8), CUTS, st.booleans(), st.booleans())
def test_an_arrays_elements_come_back_however_the_bytes_are_cut(
    values: list[Any], cuts: list[int], spaced: bool, escaped: bool
) -> None:
    chunks = cut(encoded(values, spaced, escaped), cuts)
    assert [repr(item) for item in items(chunks)] == [repr((None, value)) for value in values]


@given(st.dictionaries(TEXT, VALUES, max_size=8), st.booleans())
def test_an_objects_members_come_back_byte_for_byte(values: dict[str, Any], escaped: bool) -> None:
    assert [repr(item) for item in items(bytewise(encoded(values, False, escaped)))] == [
        repr(item) for item in values.items()
    ]


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        pytest.param("/a", [(None, 1), (None, 2)], id="a member"),
        pytest.param("/b/c", [("x", 1)], id="a member of a member"),
        pytest.param("/d/1", [(None, 3)], id="an element of an array"),
        pytest.param("/e~1f/~0", [(None, 4)], id="escaped / and ~ in names"),
        pytest.param("/", [(None, 5)], id="the member with the empty name"),
        pytest.param("/twice", [(None, 6)], id="the first of two members with one name"),
    ],
)
def test_a_pointer_leads_to(pointer: str, expected: list[Any]) -> None:
    document = b'{"a":[1,2],"b":{"c":{"x":1}},"d":[[2],[3]],"e/f":{"~":[4]},"":[5],"twice":[6],"twice":[7]}'
    assert list(items(bytewise(document), pointer)) == expected
    assert list(items([document], pointer)) == expected


def test_nothing_behind_the_target_of_a_pointer_is_read() -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"a":[1,2] '
        yield b', "b": broken'
        raise AssertionError("read too far")

    assert list(items(chunks(), "/a")) == [(None, 1), (None, 2)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"[]", [], id="an empty array"),
        pytest.param(b" { } ", [], id="an empty object"),
        pytest.param(b"\xef\xbb\xbf[1]", [(None, 1)], id="a byte order mark"),
        pytest.param(b"[12345678901234567890123]", [(None, 12345678901234567890123)], id="an integer above 64 bits"),
        pytest.param(b"[1.0,1e2,-0]", [(None, 1.0), (None, 100.0), (None, 0)], id="floats stay floats"),
        pytest.param(b'{"a":1,"a":2}', [("a", 1), ("a", 2)], id="one name twice gives two items"),
    ],
)
def test_it_reads(text: bytes, expected: list[Any]) -> None:
    assert [repr(item) for item in items(bytewise(text))] == [repr(item) for item in expected]


@pytest.mark.parametrize("chunked", [pytest.param(bytewise, id="bytewise"), pytest.param(lambda b: [b], id="whole")])
@pytest.mark.parametrize(
    ("text", "pointer", "cause"),
    [
        pytest.param(b"3", "", NOT_ITERABLE, id="a number at the top"),
        pytest.param(b'"text"', "", NOT_ITERABLE, id="a string at the top"),
        pytest.param(b'{"a":1}', "/a", NOT_ITERABLE, id="a pointer to a number"),
        pytest.param(b"", "", "byte 0: expecting value; found the end of the file", id="an empty file"),
        pytest.param(b"[1,2", "", "byte 4: expected , or ] behind an array's element", id="an array without end"),
        pytest.param(b"[1,]", "", "byte 3: expecting value; found ']'", id="a comma too many"),
        pytest.param(b"[1 2]", "", "byte 3: expected , or ]", id="a missing comma"),
        pytest.param(b"[1]\n]", "", "byte 4: found ']' behind the end", id="something behind the end"),
        pytest.param(b"[1][2]", "", "byte 3: found '[' behind the end", id="a second document"),
        pytest.param(b'["abc', "", "byte 1: unterminated string; it does not end", id="an open string"),
        pytest.param('["äö" x]'.encode(), "", "byte 8: expected , or ]", id="bytes are counted, not characters"),
        pytest.param(b'["\xff"]', "", "byte 2: byte 0xff is not UTF-8", id="Latin-1"),
        pytest.param(b'["\xe3\x81', "", "byte 2: byte 0xe3 is not UTF-8", id="half a character at the end"),
        pytest.param(b"\xff\xfe[\x00", "", "byte 0: byte 0xff is not UTF-8", id="UTF-16"),
        pytest.param(b"[NaN]", "", "byte 1: NaN is not a JSON number", id="NaN"),
        pytest.param(b"[-Infinity]", "", "byte 1: -Infinity is not a JSON number", id="-Infinity"),
        pytest.param(b"[1e999]", "", "the number 1e999 is too large", id="beyond the range of a double"),
        pytest.param(b"[" + b"1" * 5000 + b"]", "", "more than 4,300 digits", id="an integer of 5,000 digits"),
        pytest.param(b"[" * 200_000, "", "nested too deeply", id="200,000 levels"),
        pytest.param(b"{1:2}", "", "byte 1: expected \" before an object's key", id="a key that is no string"),
        pytest.param(b'{"a" 1}', "", "byte 5: expected : behind an object's key", id="a missing colon"),
        pytest.param(
            b'{"a":1}', "/b", "the pointer '/b' leads to nothing: there is no 'b'", id="a member that is absent"
        ),
        pytest.param(b"[[1]]", "/1", "there is no '1' in an array", id="an index behind the end"),
        pytest.param(b"[[1]]", "/-", "there is no '-' in an array", id="an index that is no number"),
        pytest.param(b'{"a":1}', "/a/b", "there is no 'b' in a value that is neither", id="a pointer through a number"),
        pytest.param(b"", "/a", "there is no 'a' in an empty file", id="a pointer into an empty file"),
    ],
)
def test_it_fails_on(text: bytes, pointer: str, cause: str, chunked: Any) -> None:
    with pytest.raises(RunFailed) as caught:
        list(items(chunked(text), pointer))
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED
    assert cause in caught.value.failure.cause


def test_items_in_front_of_what_is_broken_are_given() -> None:
    read = items([b"[1,2,x"])
    assert [next(read), next(read)] == [(None, 1), (None, 2)]
    with pytest.raises(RunFailed):
        next(read)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 2000, id="one byte a character"),
        pytest.param("€" * 700, id="three bytes a character"),
    ],
)
@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_an_item_above_the_limit_is_refused(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded([1, text, 2])
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert [value for _, value in items(chunks)] == [1, text, 2]
    monkeypatch.setattr(decoding, "MAX_ITEM", 1 << 10)
    with pytest.raises(RunFailed, match="byte 4: one value is larger than"):
        list(items(chunks))


def test_the_target_of_a_pointer_must_begin_early(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded({**{f"skipped{i}": "x" * 100 for i in range(50)}, "rows": [1]})
    assert list(items(bytewise(data), "/rows")) == [(None, 1)]
    monkeypatch.setattr(decoding, "MAX_SKIPPED", 1 << 10)
    with pytest.raises(RunFailed, match="must begin in the first"):
        list(items(bytewise(data), "/rows"))


def test_memory_does_not_grow_with_the_file() -> None:
    kept = []

    def chunks() -> Iterator[bytes]:
        yield b"["
        for number in range(2000):
            yield encoded({"n": number, "text": "x" * 100}) + b","
            kept.append(len(window._text))
        yield b"0]"

    window = decoding._Window(chunks())
    for _ in decoding._elements(window):
        window.value(decoding.MAX_ITEM)
    assert max(kept) < 1000
