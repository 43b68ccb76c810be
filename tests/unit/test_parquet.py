"""Parquet files to items: the table of types in docs/readers.md, what a file may look like, and what is broken."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from maprun.adapters import parquet
from maprun.errors import RunFailed, StatesError, StoreUnavailable

DOC = Path("docs/readers.md")
DAY = dt.date(2026, 9, 24)
MOMENT = dt.datetime(2026, 9, 24, 1, 2, 3, 450_000)
NAN, INFINITY = float("nan"), float("inf")
KEY = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")


class Bytes:
    """A file in memory that tells what was read of it."""

    def __init__(self, data: bytes) -> None:
        self.size, self.data = len(data), data
        self.asked: list[tuple[int, int]] = []

    def read_at(self, offset: int, length: int) -> bytes:
        assert 0 <= offset < offset + length <= self.size
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


def written(table: pa.Table, **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def read(data: bytes) -> list[dict[str, Any]]:
    return [row for block in parquet.rows(Bytes(data)) for row in block]


def column(type_: pa.DataType, values: list[Any], **options: Any) -> list[Any]:
    """What a column of these values is read as."""
    rows = read(written(pa.table({"x": pa.array(values, type_)}), **options))
    assert all(row.keys() == {"x"} for row in rows)
    return [row["x"] for row in rows]


NANO = 1_790_211_723_450_000_001

TYPES = [
    pytest.param(pa.null(), [None], [None], id="null"),
    pytest.param(pa.bool_(), [True, None, False], [True, None, False], id="boolean"),
    pytest.param(pa.int8(), [-128, 127], [-128, 127], id="INT 8"),
    pytest.param(pa.int64(), [-(2**63), 2**53 + 1], [-(2**63), 2**53 + 1], id="INT 64 beyond doubles"),
    pytest.param(pa.uint64(), [2**64 - 1], [2**64 - 1], id="unsigned INT 64"),
    pytest.param(pa.float64(), [0.1, -0.0, 1e300, None], [0.1, -0.0, 1e300, None], id="DOUBLE"),
    pytest.param(pa.float32(), [0.1, 16777216.0, 3.4e38, None], [0.1, 16777216.0, 3.4e38, None], id="FLOAT, shortest"),
    pytest.param(pa.float16(), [1.5, None], [1.5, None], id="FLOAT16"),
    pytest.param(pa.float64(), [NAN, INFINITY, -INFINITY], [None, None, None], id="DOUBLE, what JSON has not"),
    pytest.param(pa.float32(), [NAN, INFINITY, 1.0], [None, None, 1.0], id="FLOAT, what JSON has not"),
    pytest.param(pa.decimal128(38, 0), [Decimal(10**37 + 1), None], [10**37 + 1, None], id="DECIMAL without fraction"),
    pytest.param(pa.decimal256(76, 0), [Decimal(10**75 + 1)], [10**75 + 1], id="a DECIMAL of 76 digits"),
    pytest.param(
        pa.decimal128(15, 2),
        [Decimal("12.50"), Decimal("-9999999999999.99")],
        [12.5, -9999999999999.99],
        id="DECIMAL up to 15 digits",
    ),
    pytest.param(
        pa.decimal128(16, 2), [Decimal("12.50"), Decimal("0.00")], ["12.50", "0.00"], id="DECIMAL of more digits"
    ),
    pytest.param(pa.decimal128(38, 18), [Decimal("1e-18")], ["0.000000000000000001"], id="no exponent"),
    pytest.param(pa.string(), ["", "ü\n", None], ["", "ü\n", None], id="STRING"),
    pytest.param(pa.json_(), ['{"a": 1}', None], ['{"a": 1}', None], id="JSON"),
    pytest.param(pa.large_string(), ["a"], ["a"], id="large strings"),
    pytest.param(pa.string_view(), ["a", None], ["a", None], id="string views"),
    pytest.param(pa.dictionary(pa.int8(), pa.string()), ["b", None, "b"], ["b", None, "b"], id="a dictionary"),
    pytest.param(pa.dictionary(pa.int8(), pa.int64()), [5, None, 5], [5, None, 5], id="a dictionary of numbers"),
    pytest.param(pa.binary(), [b"\0\xff", b"", None], ["AP8=", "", None], id="binary"),
    pytest.param(pa.binary(2), [b"\0\xff"], ["AP8="], id="binary of one length"),
    pytest.param(pa.binary(16), [KEY.bytes], ["ASNFZ4mrze8BI0VniavN7w=="], id="16 bytes that are no UUID"),
    pytest.param(pa.uuid(), [KEY.bytes, None], [str(KEY), None], id="UUID"),
    pytest.param(pa.date32(), [DAY, None], ["2026-09-24", None], id="DATE"),
    pytest.param(pa.date64(), [DAY, None], ["2026-09-24", None], id="DATE in milliseconds"),
    pytest.param(pa.time32("ms"), [dt.time(1, 2, 3, 450_000), None], ["01:02:03.450", None], id="TIME in milliseconds"),
    pytest.param(pa.time64("us"), [dt.time(1, 2, 3)], ["01:02:03.000000"], id="TIME in microseconds"),
    pytest.param(pa.timestamp("ms"), [MOMENT, None], ["2026-09-24T01:02:03.450", None], id="TIMESTAMP without zone"),
    pytest.param(pa.timestamp("us", "UTC"), [MOMENT, None], ["2026-09-24T01:02:03.450000Z", None], id="TIMESTAMP, UTC"),
    pytest.param(
        pa.timestamp("ns", "Asia/Tokyo"), [NANO], ["2026-09-24T01:02:03.450000001Z"], id="TIMESTAMP, another zone"
    ),
    pytest.param(
        pa.timestamp("us"),
        [-62_135_596_800_000_000, 253_402_300_799_999_999],
        ["0001-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999"],
        id="the years of ISO 8601",
    ),
    pytest.param(pa.duration("ms"), [1500, -1, None], ["PT1.500S", "PT-0.001S", None], id="a duration"),
    pytest.param(pa.list_(pa.int8()), [[1, None], None, [], [2]], [[1, None], None, [], [2]], id="LIST"),
    pytest.param(pa.list_(pa.int8(), 2), [[1, 2], None, [3, 4]], [[1, 2], None, [3, 4]], id="lists of one length"),
    pytest.param(pa.large_list(pa.date32()), [[DAY], None], [["2026-09-24"], None], id="a list of dates"),
    pytest.param(pa.list_(pa.list_(pa.string())), [[["a"], []], [None]], [[["a"], []], [None]], id="lists of lists"),
    pytest.param(
        pa.struct({"a": pa.int8(), "b": pa.binary()}),
        [{"a": 1, "b": b"\0"}, None, {"a": None, "b": None}],
        [{"a": 1, "b": "AA=="}, None, {"a": None, "b": None}],
        id="a group",
    ),
    pytest.param(
        pa.list_(pa.struct({"d": pa.date32()})),
        [[{"d": DAY}, None], None],
        [[{"d": "2026-09-24"}, None], None],
        id="a list of groups",
    ),
    pytest.param(
        pa.map_(pa.string(), pa.date32()),
        [[("a", DAY), ("b", None)], None, []],
        [{"a": "2026-09-24", "b": None}, None, {}],
        id="MAP",
    ),
    pytest.param(
        pa.map_(pa.int64(), pa.map_(pa.bool_(), pa.int8())),
        [[(7, [(True, 1)])]],
        [{"7": {"true": 1}}],
        id="a MAP with other keys",
    ),
    pytest.param(pa.map_(pa.string(), pa.int8()), [[("a", 1), ("a", 2)]], [{"a": 2}], id="a MAP with a key twice"),
]


@pytest.mark.parametrize(("type_", "values", "expected"), TYPES)
def test_types(type_: pa.DataType, values: list[Any], expected: list[Any]) -> None:
    found = column(type_, values)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]
    assert msgspec.json.decode(msgspec.json.encode(found)) == json.loads(json.dumps(expected))
    assert column(type_, values * 1500) == expected * 1500, "the same in several blocks"


def test_legacy_timestamps_of_96_bits_reach_from_year_1_to_9999() -> None:
    far = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31), None]
    found = column(pa.timestamp("us"), far, use_deprecated_int96_timestamps=True)
    assert found == ["0001-01-01T00:00:00.000000", "9999-12-31T00:00:00.000000", None]


def with_logical_type(name: str) -> bytes:
    """A file whose strings are called something else in the footer, as pyarrow cannot write it.

    The schema element ends with converted type UTF8 (0x25 0x00) and logical type STRING (0x4c 0x1c 0x00 0x00).
    """
    data = written(pa.table({"x": pa.array(["a", None, "ü"])}), store_schema=False)
    converted, logical = {"ENUM": (8, 4), "BSON": (40, 13)}[name]
    element = b"\x25\x00\x4c\x1c\x00\x00"
    assert data.count(element) == 1
    return data.replace(element, bytes([0x25, converted, 0x4C, logical << 4 | 0xC, 0, 0]))


@pytest.mark.parametrize(("name", "expected"), [("ENUM", ["a", None, "ü"]), ("BSON", ["YQ==", None, "w7w="])])
def test_types_that_pyarrow_takes_for_bytes(name: str, expected: list[Any]) -> None:
    data = with_logical_type(name)
    assert pq.ParquetFile(io.BytesIO(data)).schema.column(0).logical_type.type == name
    assert [row["x"] for row in read(data)] == expected


def documented() -> set[str]:
    """The ids of the rows above that the table in the documentation names."""
    section = DOC.read_text().split("\n## Parquet\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| ([^|]+?) \|", section, re.MULTILINE)) - {"Column", "---"}


GROUPS = {
    "null": ["null"],
    "BOOLEAN": ["boolean"],
    "INT of 8 to 64 bits, with or without sign": [
        "INT 8",
        "INT 64 beyond doubles",
        "unsigned INT 64",
        "a dictionary of numbers",
    ],
    "DOUBLE, FLOAT, FLOAT16": [
        "DOUBLE",
        "FLOAT, shortest",
        "FLOAT16",
        "DOUBLE, what JSON has not",
        "FLOAT, what JSON has not",
    ],
    "DECIMAL without fraction": ["DECIMAL without fraction", "a DECIMAL of 76 digits"],
    "DECIMAL of at most 15 digits": ["DECIMAL up to 15 digits"],
    "DECIMAL of more digits": ["DECIMAL of more digits", "no exponent"],
    "STRING, ENUM, JSON": ["JSON", "STRING", "large strings", "string views", "a dictionary"],
    "other binary, BSON": ["binary", "binary of one length", "16 bytes that are no UUID"],
    "UUID": ["UUID"],
    "DATE": ["DATE", "DATE in milliseconds"],
    "TIME": ["TIME in milliseconds", "TIME in microseconds"],
    "TIMESTAMP in UTC": ["TIMESTAMP, UTC", "TIMESTAMP, another zone"],
    "TIMESTAMP without zone, INT96": ["TIMESTAMP without zone", "the years of ISO 8601"],
    "duration (of Arrow)": ["a duration"],
    "LIST": ["LIST", "lists of one length", "a list of dates", "lists of lists", "a list of groups"],
    "group": ["a group"],
    "MAP": ["MAP", "a MAP with other keys", "a MAP with a key twice"],
}


def test_the_documentation_has_every_type_and_no_other() -> None:
    assert documented() == set(GROUPS)
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(str(row.id) for row in TYPES)


def shown_in(line: str) -> tuple[str, str]:
    """Type and example of a line of the table."""
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    return cells[0], cells[2].strip("`")


def test_the_examples_of_the_documentation_are_what_is_read() -> None:
    results = {str(row.id): row.values[2] for row in TYPES}
    section = DOC.read_text().split("\n## Parquet\n")[1].split("\n## ")[0]
    lines = [shown_in(line) for line in section.splitlines() if line.startswith("| ") and "`" in line]
    assert {name for name, _ in lines} == set(GROUPS)
    for name, shown in lines:
        known = [value for row in GROUPS[name] for value in results[row]]
        assert msgspec.json.decode(shown) in msgspec.json.decode(msgspec.json.encode(known)), name


MANY = pa.table({"id": range(5000), "name": [f"name {number % 7}" for number in range(5000)]})


@pytest.mark.parametrize(
    "options",
    [pytest.param({"compression": name}, id=name) for name in ("NONE", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4")]
    + [
        pytest.param({"row_group_size": 999}, id="several row groups"),
        pytest.param({"data_page_size": 100, "use_dictionary": False}, id="many pages"),
        pytest.param({"data_page_version": "2.0", "version": "2.6"}, id="pages of version 2"),
        pytest.param({"write_page_checksum": True}, id="checksums"),
        pytest.param({"column_encoding": "DELTA_BINARY_PACKED", "use_dictionary": False}, id="deltas"),
    ],
)
def test_files_of_any_make(options: dict[str, Any]) -> None:
    table = MANY.select(["id"]) if "column_encoding" in options else MANY
    assert read(written(table, **options)) == table.to_pylist()


def test_blocks_are_small_and_never_empty() -> None:
    sizes = [len(block) for block in parquet.rows(Bytes(written(MANY, row_group_size=1500)))]
    assert sum(sizes) == 5000
    assert max(sizes) == 1000
    assert min(sizes) > 0


def test_large_rows_come_in_smaller_blocks() -> None:
    wide = pa.table({"x": [bytes([number]) * 300_000 for number in range(9)]})
    assert [len(block) for block in parquet.rows(Bytes(written(wide, use_dictionary=False)))] == [3, 3, 3]


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        pytest.param(MANY.slice(0, 0), 0, id="no rows"),
        pytest.param(pa.table({"x": pa.array([], pa.struct({"y": pa.int8()}))}), 0, id="no rows of groups"),
    ],
)
def test_files_without_items(table: pa.Table, rows: int) -> None:
    assert len(read(written(table))) == rows


def test_a_row_group_is_fetched_by_one_request() -> None:
    file = Bytes(written(MANY, row_group_size=2000))
    blocks = parquet.rows(file)
    next(blocks)
    assert len(file.asked) == 2, "footer, and the first row group"
    assert sum(len(block) for block in blocks) == 4000
    assert len(file.asked) == 4


def test_a_footer_beyond_64_kib_is_fetched_as_a_whole() -> None:
    wide = pa.table({f"column {number}": pa.array([number]) for number in range(1000)})
    file = Bytes(written(wide))
    assert [dict(row) for block in parquet.rows(file) for row in block] == wide.to_pylist()
    assert len(file.asked) == 3


@pytest.mark.parametrize("page", [100, 5_000, 1 << 20], ids=["small pages", "pages", "one page"])
def test_a_large_row_group_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """Column by column, each once, and with few requests, however small its pages are."""
    monkeypatch.setattr(parquet, "WINDOW", 10_000)
    monkeypatch.setattr(parquet, "PIECE", (20_000, 20_000))
    monkeypatch.setattr(parquet, "BUFFER", 1_000)
    file = Bytes(written(MANY, use_dictionary=False, compression="NONE", data_page_size=page, write_batch_size=20))
    assert [row for block in parquet.rows(file) for row in block] == MANY.to_pylist()
    footer, *pieces = file.asked
    assert 4 <= len(pieces) <= 12
    assert sum(length for _, length in pieces) < file.size + 12 * page
    assert all(offset >= 4 for offset, _ in pieces), footer


GOOD = written(MANY.slice(0, 10))
ENCRYPTED = GOOD[:-4] + b"PARE"


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 20]) + data[at + 20 :]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "it has 0 bytes", id="an empty object"),
        pytest.param(b"PAR1", "it has 4 bytes", id="the first mark alone"),
        pytest.param(b"id,name\n1,a\n2,b\n", "it does not end as a Parquet file does", id="CSV"),
        pytest.param(GOOD[:-1], "it does not end as a Parquet file does", id="cut off by a byte"),
        pytest.param(
            GOOD[len(GOOD) // 2 :], "does not end|of bytes that the file does not have", id="without its beginning"
        ),
        pytest.param(ENCRYPTED, "its footer is encrypted", id="an encrypted footer"),
        pytest.param(
            GOOD[:-8] + b"\xff\xff\xff\x00PAR1", "does not end as a Parquet file does", id="a footer beyond the file"
        ),
        pytest.param(
            bytes(6 << 20) + (6_000_000).to_bytes(4, "little") + b"PAR1",
            "footer has 6,000,000 bytes; it may have 5 MiB",
            id="a footer beyond 5 MiB",
        ),
        pytest.param(damaged(GOOD, len(GOOD) - 100), "cannot be read as Parquet: ", id="a broken footer"),
        pytest.param(damaged(GOOD, 20), "row group 0: ", id="a broken page"),
        pytest.param(
            written(pa.table([[1], [2]], ["x", "x"])), "several columns of the same name 'x'", id="columns of one name"
        ),
    ],
)
def test_broken_files(data: bytes, told: str) -> None:
    with pytest.raises(RunFailed, match=told) as caught:
        read(data)
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED
    assert caught.value.failure.cause.startswith("The dataset cannot be read as Parquet: ")


def test_a_checksum_that_does_not_hold_is_an_error() -> None:
    data = written(pa.table({"x": [b"x" * 50_000]}), compression="NONE", use_dictionary=False, write_page_checksum=True)
    with pytest.raises(RunFailed, match=r"row group 0: .*checksum|row group 0: .*CRC"):
        read(damaged(data, 20_000))


def test_a_row_group_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUP", 1 << 20)
    data = written(
        pa.table({"x": [b"x" * (1 << 20), b"y"]}), compression="NONE", row_group_size=1, use_dictionary=False
    )
    with pytest.raises(RunFailed, match=r"row group 0: it has 1,\d\d\d,\d\d\d bytes; it may have 1 MiB"):
        read(data)


def test_rows_before_a_broken_row_group_come_first() -> None:
    data = written(MANY, row_group_size=2500, compression="NONE", use_dictionary=False)
    second = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(1).column(0).data_page_offset
    found: list[dict[str, Any]] = []
    with pytest.raises(RunFailed, match="row group 1: "):
        found.extend(row for block in parquet.rows(Bytes(damaged(data, second))) for row in block)
    assert found == MANY.slice(0, 2500).to_pylist()


class Failing(Bytes):
    """A store that is gone after some requests."""

    def __init__(self, data: bytes, requests: int) -> None:
        super().__init__(data)
        self._left = requests

    def read_at(self, offset: int, length: int) -> bytes:
        if not self._left:
            raise StoreUnavailable("gone")
        self._left -= 1
        return super().read_at(offset, length)


@pytest.mark.parametrize("window", [parquet.WINDOW, 0], ids=["fetched at once", "read in pieces by pyarrow"])
@pytest.mark.parametrize("requests", [0, 1, 2])
def test_a_store_that_is_gone_is_no_broken_file(monkeypatch: pytest.MonkeyPatch, window: int, requests: int) -> None:
    monkeypatch.setattr(parquet, "WINDOW", window)
    with pytest.raises(StoreUnavailable, match="gone"):
        list(parquet.rows(Failing(written(MANY, row_group_size=2000), requests)))


def test_without_pyarrow_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    with pytest.raises(RunFailed, match=r"spec\.itemReader\.readerConfig\.inputType: .* install maprun\[parquet\]"):
        list(parquet.rows(Bytes(GOOD)))


def test_pyarrow_is_loaded_when_a_file_is_read_and_not_before() -> None:
    program = "import sys, maprun.adapters.parquet, maprun.planning; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


scalars = st.one_of(
    st.tuples(st.just(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1)),
    st.tuples(st.just(pa.string()), st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=1)),
    st.tuples(
        st.just(pa.float32()),
        st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
    ),
    st.tuples(st.just(pa.list_(pa.int64())), st.lists(st.none() | st.lists(st.none() | st.integers(0, 9)), min_size=1)),
)


@given(scalars, st.integers(1, 50))
@settings(deadline=None)
def test_values_survive(typed: tuple[pa.DataType, list[Any]], group: int) -> None:
    type_, values = typed
    found = column(type_, values, row_group_size=group)
    if type_ == pa.float32():  # the shortest number that is the same in 32 bits
        assert pa.array(found, pa.float32()) == pa.array(values, pa.float32())
    else:
        assert found == values


@given(st.integers(1, 15).flatmap(lambda digits: st.tuples(st.just(digits), st.integers(1, digits))), st.data())
@settings(deadline=None)
def test_decimals_of_15_digits_survive_as_numbers(shape: tuple[int, int], data: st.DataObject) -> None:
    digits, scale = shape
    value = Decimal(data.draw(st.integers(-(10**digits) + 1, 10**digits - 1))).scaleb(-scale)
    assert [Decimal(repr(found)) for found in column(pa.decimal128(digits, scale), [value])] == [value]


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
@settings(deadline=None, max_examples=300)
@example(282, 124)  # pyarrow itself ends the process when it is asked about this column
def test_any_broken_byte_is_an_error_of_the_dataset_or_rows(at: int, byte: int) -> None:
    """Never another exception, and never the end of the process."""
    data = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    collect(lambda: parquet.rows(Bytes(data)))


def collect(blocks: Callable[[], Iterator[Any]]) -> None:
    try:
        for block in blocks():
            assert len(block)
    except RunFailed as failed:
        if failed.failure.error != StatesError.ITEM_READER_FAILED:
            raise
