"""The examples of docs/results.md are what really happens."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from maprun.adapters import parquet_writing
from maprun.core import outputs
from maprun.model import MapRunSpec
from tests.unit.finished_run import Finished, failed, succeeded, writer

DOCS = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
CHILDREN = [succeeded(3, b""), failed(2), succeeded(0, b"[1,[2]]"), succeeded(1, b'{"city":"Rome"}')]


def rows(header: str) -> list[list[str]]:
    """The rows below a table's header, each cell without its backticks."""
    table = DOCS.split(header)[1].split("\n\n")[0].strip().splitlines()[1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip("|"))] for row in table]
    assert cells, header
    return [[cell.removeprefix("`").removesuffix("`") for cell in row] for row in cells]


FILES = rows("| transformation | outputType | `SUCCEEDED_0` |")
INLINE = rows("| transformation | outputType | output |")
OUTPUTS = rows("| `input` | `resultSelector` | `resultPath` | output |")
TABLES = rows("| outputs | columns |")


@pytest.mark.parametrize(("form", "kind", "content"), FILES, ids=[" ".join(row[:2]) for row in FILES])
async def test_what_a_file_holds(tmp_path: Path, form: str, kind: str, content: str) -> None:
    run = Finished(tmp_path, 4)
    await run.journal(CHILDREN)
    await run.exported(resultWriter=writer(transformation=form, outputType=kind))
    assert run.contents()[f"SUCCEEDED_0.{kind.lower()}"].decode() == content.replace("⏎", "\n")


@pytest.mark.parametrize(("form", "kind", "output"), INLINE, ids=[" ".join(row[:2]) for row in INLINE])
async def test_the_output_without_a_bucket(tmp_path: Path, form: str, kind: str, output: str) -> None:
    run = Finished(tmp_path, 4)
    await run.journal(CHILDREN)
    exported = await run.exported(resultWriter={"writerConfig": {"transformation": form, "outputType": kind}})
    assert bytes(exported.output).decode() == output


@pytest.mark.parametrize(("document", "selector", "path", "output"), OUTPUTS, ids=[row[-1] for row in OUTPUTS])
def test_from_the_result_to_the_output(document: str, selector: str, path: str, output: str) -> None:
    fields: dict[str, Any] = {"itemProcessor": {"jobTemplate": {}}, "input": json.loads(document)}
    fields |= {"resultSelector": json.loads(selector)} if selector else {}
    fields |= {"resultPath": path} if path else {}
    assert outputs.output_of(msgspec.convert(fields, MapRunSpec), {}, b"[1,2]").decode() == output


@pytest.mark.parametrize(("written", "columns"), TABLES, ids=[row[1] for row in TABLES])
def test_the_columns_of_a_table(written: str, columns: str) -> None:
    (content,) = (b"".join(file) for file in parquet_writing.files(iter(written.encode().split(b"` `")), 10**9))
    assert pq.read_schema(io.BytesIO(content)).names == columns.split("` `")


def test_the_bounds_that_the_page_names() -> None:
    assert f"at most {parquet_writing.GROUP_ROWS:,} rows" in DOCS
    assert f"the first {parquet_writing.SAMPLE_ROWS:,} outputs (or {parquet_writing.SAMPLE_BYTES >> 20} MiB" in DOCS
