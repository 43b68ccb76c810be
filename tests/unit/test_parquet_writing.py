"""Outputs written as Parquet and read back with pyarrow."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maprun.adapters import parquet_writing
from maprun.core.result_columns import RESCUED
from maprun.errors import RunFailed

LARGE = 10**9


def encoded(outputs: list[Any]) -> list[bytes]:
    return [json.dumps(output).encode() for output in outputs]


def written(outputs: list[bytes], limit: int = LARGE) -> list[bytes]:
    return [b"".join(chunks) for chunks in parquet_writing.files(iter(outputs), limit)]


def read(content: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    return rows


def test_an_output_is_a_row_and_its_keys_are_columns() -> None:
    outputs = [
        {"city": "Narita", "runways": 2, "at": {"lat": 35.7}, "tags": ["a"]},
        {"city": "Rome", "at": {"lat": 41.8}},
    ]
    (content,) = written(encoded(outputs))
    assert pq.read_schema(io.BytesIO(content)).remove_metadata() == pa.schema(
        {
            "city": pa.string(),
            "runways": pa.int64(),
            "at": pa.struct({"lat": pa.float64()}),
            "tags": pa.list_(pa.string()),
            RESCUED: pa.string(),
        }
    )
    assert read(content) == [
        {**outputs[0], RESCUED: None},
        {"city": "Rome", "runways": None, "at": {"lat": 41.8}, "tags": None, RESCUED: None},
    ]


def test_without_outputs_there_is_no_file() -> None:
    assert written([]) == []


def test_an_empty_file_can_be_read_and_has_no_row() -> None:
    assert pq.read_table(io.BytesIO(parquet_writing.empty())).to_pydict() == {"_rescued_data": []}


def test_outputs_that_are_all_null_are_rows() -> None:
    (content,) = written([b"null", b"null"])
    assert read(content) == [{RESCUED: None}, {RESCUED: None}]


def test_a_full_file_is_followed_by_another_one_with_the_same_columns() -> None:
    outputs = [{"n": number, "s": sha256(b"%d" % number).hexdigest()} for number in range(100)] + [
        {"n": 100, "late": "x"}
    ]
    files = written(encoded(outputs), 2_000)
    assert len(files) > 2
    assert all(len(content) >= 2_000 for content in files[:-1])
    rows = [row for content in files for row in read(content)]
    assert [row["n"] for row in rows] == list(range(101))
    assert {tuple(row) for row in rows} == {("n", "s", "late", RESCUED)}, "few outputs: all of them tell the columns"


def test_columns_follow_from_the_first_outputs_and_the_rest_is_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writing, "SAMPLE_ROWS", 2)
    (content,) = written(encoded([{"n": 1}, {"n": 2}, {"n": "three", "late": True}]))
    assert read(content)[2] == {"n": None, RESCUED: '{"late":true,"n":"three"}'}


def test_row_groups_are_written_out_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds one row group: nothing is asked for beyond it before its bytes are out."""
    monkeypatch.setattr(parquet_writing, "GROUP_ROWS", 10)
    monkeypatch.setattr(parquet_writing, "SAMPLE_ROWS", 5)
    asked: list[int] = []

    def outputs() -> Iterator[bytes]:
        for number in range(35):
            asked.append(number)
            yield b'{"n":%d}' % number

    (file,) = ([(len(chunk), len(asked)) for chunk in chunks] for chunks in parquet_writing.files(outputs(), LARGE))
    assert [count for _, count in file] == [10, 20, 30, 35, 35]
    assert all(size > 0 for size, _ in file)


def test_a_row_group_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_writing, "GROUP_BYTES", 100)
    (content,) = written(encoded([{"s": "x" * 50}] * 10))
    assert pq.ParquetFile(io.BytesIO(content)).metadata.num_row_groups == 5


@settings(max_examples=20)
@given(
    st.lists(st.fixed_dictionaries({"n": st.integers(), "s": st.text(max_size=5)}), max_size=30), st.integers(1, 5_000)
)
def test_the_same_outputs_give_the_same_bytes(outputs: list[Any], limit: int) -> None:
    files = written(encoded(outputs), limit)
    assert written(encoded(outputs), limit) == files
    assert sum(len(read(content)) for content in files) == len(outputs)


def test_without_pyarrow_the_error_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RunFailed, match=r"PARQUET needs pyarrow; install maprun\[parquet\]") as caught:
        written([b"1"])
    assert caught.value.failure.error == "States.ResultWriterFailed"
