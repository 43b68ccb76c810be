"""The forms of results by the documentation and the recordings of AWS (`aws-distributed-map.md` §5.1, §12)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import result_forms
from maprun.core.result_forms import ARRAY, LAYOUTS, LINES, Layout
from maprun.model_writing import OutputType, ResultWriter, Transformation, WriterConfig

JSON, JSONL, PARQUET = OutputType.JSON, OutputType.JSONL, OutputType.PARQUET
NONE, COMPACT, FLATTEN = Transformation.NONE, Transformation.COMPACT, Transformation.FLATTEN
PUT = {"resource": "s3:putObject", "parameters": {"bucket": "results"}}
LIMIT = 256 * 1024


def asked(**fields: Any) -> ResultWriter:
    return msgspec.convert(fields, ResultWriter)


@pytest.mark.parametrize(
    ("writer", "expected"),
    [
        pytest.param(None, COMPACT, id="no writer: COMPACT (§5.1)"),
        pytest.param(asked(**PUT), NONE, id="a resource without writerConfig: NONE (§5.1)"),
        pytest.param(asked(**PUT, writerConfig={"outputType": "JSONL"}), NONE, id="a resource, only a type: NONE"),
        pytest.param(asked(writerConfig={"outputType": "JSONL"}), COMPACT, id="no resource, only a type: COMPACT"),
        pytest.param(asked(**PUT, writerConfig={"transformation": "FLATTEN"}), FLATTEN, id="what is asked for, in S3"),
        pytest.param(asked(writerConfig={"transformation": "NONE"}), NONE, id="what is asked for, in the output"),
    ],
)
def test_the_transformation(writer: ResultWriter | None, expected: Transformation) -> None:
    assert result_forms.transformation(writer) is expected


@pytest.mark.parametrize(
    ("category", "kind", "name"),
    [
        pytest.param("SUCCEEDED", JSON, "SUCCEEDED_0.json", id="the extension follows the type (§5.2)"),
        pytest.param("FAILED", JSONL, "FAILED_0.jsonl", id="also for what did not succeed (§5.2)"),
        pytest.param("SUCCEEDED", PARQUET, "SUCCEEDED_0.parquet", id="Parquet for outputs"),
        pytest.param("PENDING", PARQUET, "PENDING_0.json", id="and JSON for records, which are no outputs"),
    ],
)
def test_names_of_files(category: str, kind: OutputType, name: str) -> None:
    writer = ResultWriter(writer_config=WriterConfig(output_type=kind))
    assert result_forms.file_name(category, 0, result_forms.output_type(writer, category)) == name


@pytest.mark.parametrize(
    ("form", "output", "records"),
    [
        pytest.param(COMPACT, b'[10,{"copy":10}]', [b'[10,{"copy":10}]'], id="COMPACT: the output, an array too"),
        pytest.param(FLATTEN, b'[10,{"copy":10}]', [b"10", b'{"copy":10}'], id="FLATTEN: the elements of an array"),
        pytest.param(FLATTEN, b"[[1],[2,3]]", [b"[1]", b"[2,3]"], id="FLATTEN: one level only (§5.1)"),
        pytest.param(FLATTEN, b'{"a":[1]}', [b'{"a":[1]}'], id="FLATTEN: anything else as it is"),
        pytest.param(FLATTEN, b"[]", [], id="FLATTEN: an empty array is nothing"),
        pytest.param(FLATTEN, b" [1, 2]", [b"1", b"2"], id="FLATTEN: an array behind blanks"),
        pytest.param(COMPACT, b"", [b"null"], id="nothing written is null"),
        pytest.param(FLATTEN, b"", [b"null"], id="FLATTEN: nothing written is null"),
        pytest.param(COMPACT, b'{"x": 1.50, "y": 12345678901234567890123}', None, id="numbers stay as written"),
        pytest.param(COMPACT, b'{"a":\r1,\n"b":2}', [b'{"a":1,"b":2}'], id="an output over lines becomes one line"),
    ],
)
def test_what_becomes_of_an_output(form: Transformation, output: bytes, records: list[bytes] | None) -> None:
    assert list(result_forms.records_of(form, output)) == ([output] if records is None else records)


@pytest.mark.parametrize(
    ("layout", "records", "content"),
    [
        pytest.param(ARRAY, [b"1", b"2"], b"[1,2]", id="JSON: one array"),
        pytest.param(LINES, [b"10", b'{"copy":10}'], b'10\n{"copy":10}\n', id="JSONL: a newline behind the last, too"),
    ],
)
def test_a_file(layout: Layout, records: list[bytes], content: bytes) -> None:
    assert written(layout, records, 1000) == [content]


RECORDED = [
    pytest.param(
        COMPACT,
        JSON,
        [b'[{"index":0,"value":"zero"},{"index":1,"value":"one"}]', b'[{"index":2,"value":"two"}]'],
        b'[[{"index":0,"value":"zero"},{"index":1,"value":"one"}],[{"index":2,"value":"two"}]]',
        id="json_pointer_batch: COMPACT JSON, one element for each batch",
    ),
    pytest.param(
        FLATTEN,
        JSONL,
        [b'[10,{"copy":10}]', b'[20,{"copy":20}]'],
        b'10\n{"copy":10}\n20\n{"copy":20}\n',
        id="the capture of §5.1: FLATTEN JSONL",
    ),
]


@pytest.mark.parametrize(("form", "kind", "outputs", "content"), RECORDED)
def test_a_recorded_file(form: Transformation, kind: OutputType, outputs: list[bytes], content: bytes) -> None:
    records = [record for output in outputs for record in result_forms.records_of(form, output)]
    assert written(LAYOUTS[kind], records, 1000) == [content]


@pytest.mark.parametrize(
    ("limit", "files"),
    [
        pytest.param(1, [b"[11]", b"[22]", b"[33]"], id="each file has at least one record"),
        pytest.param(4, [b"[11]", b"[22]", b"[33]"], id="a file that has reached the size is followed by another one"),
        pytest.param(5, [b"[11,22]", b"[33]"], id="one byte below it takes one more record"),
        pytest.param(8, [b"[11,22,33]"], id="the last record may go beyond it"),
    ],
)
def test_roll_over(limit: int, files: list[bytes]) -> None:
    assert written(ARRAY, [b"11", b"22", b"33"], limit) == files


def written(layout: Layout, records: list[bytes], limit: int) -> list[bytes]:
    return [b"".join(chunks) for chunks in result_forms.files(layout, iter(records), limit)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(values, max_size=20),
    st.integers(1, 60),
    st.sampled_from([JSON, JSONL]),
    st.sampled_from([COMPACT, FLATTEN]),
)
def test_files_hold_every_record_once_in_order_and_never_split_one(
    outputs: list[Any], limit: int, kind: OutputType, form: Transformation
) -> None:
    records = [record for output in outputs for record in result_forms.records_of(form, msgspec.json.encode(output))]
    files = written(LAYOUTS[kind], records, limit)
    read = [value for file in files for value in (json.loads(file) if kind is JSON else map(json.loads, lines(file)))]
    flat = [each for output in outputs for each in (output if isinstance(output, list) else [output])]
    assert read == (flat if form is FLATTEN else outputs)
    assert all(len(file) >= limit for file in files[:-1])
    assert len(files) == 0 or len(files[-1]) > 0


def lines(file: bytes) -> list[bytes]:
    assert file.endswith(b"\n")
    return file.removesuffix(b"\n").split(b"\n")


@pytest.mark.parametrize(
    ("kind", "records", "result"),
    [
        pytest.param(JSON, [b"1", b'{"a":2}'], b'[1,{"a":2}]', id="JSON: an array, in item order"),
        pytest.param(JSON, [], b"[]", id="JSON: nothing to run gives [] (§12)"),
        pytest.param(JSONL, [b"1", b'"x"'], rb'"1\n\"x\"\n"', id="JSONL: a string that holds the lines"),
        pytest.param(JSONL, [], b'""', id="JSONL: nothing to run gives an empty string"),
    ],
)
def test_the_result_without_a_bucket(kind: OutputType, records: list[bytes], result: bytes) -> None:
    assert result_forms.inline(kind, records) == result


@pytest.mark.parametrize(
    ("kind", "letters", "around"),
    [
        pytest.param(JSON, [LIMIT - 4], 4, id="an array: brackets and quotes"),
        pytest.param(JSON, [LIMIT - 17, 10], 7, id="commas count"),
        pytest.param(JSONL, [LIMIT - 8], 8, id="a string: its quotes, and what is escaped in it"),
    ],
)
def test_a_result_without_a_bucket_is_at_most_256_kib(kind: OutputType, letters: list[int], around: int) -> None:
    fitting = [b'"' + b"x" * number + b'"' for number in letters]
    result = result_forms.inline(kind, fitting)
    assert result is not None
    assert len(result) == sum(letters) + around == LIMIT
    assert result_forms.inline(kind, [*fitting[:-1], b'"x' + fitting[-1][1:]]) is None, "one byte more is too much"


def test_what_lies_behind_a_result_that_is_too_large_is_not_read() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b'"some output"'

    assert result_forms.inline(JSON, endless()) is None
