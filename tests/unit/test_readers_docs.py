"""What docs/readers.md shows is what happens: valid YAML, items, children, errors, limits."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
import yaml

from maprun.adapters import parquet, sources_manifest
from maprun.adapters.sources import Block, open_source
from maprun.adapters.stores import BucketsRef
from maprun.core import decoding, jsonata, jsonata_engine, manifests, nesting, paths, resolving, validation
from maprun.core.batching import batching
from maprun.core.columns import Items
from maprun.core.inputs import inputs
from maprun.errors import RunFailed
from maprun.fields import MAX_ITEMS, PAYLOAD_LIMIT
from maprun.model import MapRunSpec

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs/readers.md").read_text("utf-8")
CONTEXT: dict[str, Any] = {"State": {"Name": "towns"}}
FIRST_ROW = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"}
ETAG = re.compile(r'"\\"[0-9a-f-]+\\""')  # the tag that a server gives, inside of JSON


def rows(header: str) -> list[list[str]]:
    """The rows of the table with this header, each cell as it stands there."""
    table = DOCS.split(f"\n{header}\n")[1].split("\n\n")[0].splitlines()[1:]
    assert table
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in table]


def codes(cell: str) -> list[str]:
    """What stands in backticks in a cell, ⏎ as the newline that it means."""
    return [code.replace("⏎", "\n") for code in re.findall(r"`([^`]*)`", cell)]


def spec_of(fields: Any) -> MapRunSpec:
    """A checked spec with these fields, and a Job template where they have none."""
    template = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "a"}]}}}}
    body = {"itemProcessor": {"jobTemplate": template}, **fields}
    return validation.parse(
        {"apiVersion": "maprun.dev/v1alpha1", "kind": "MapRun", "metadata": {"name": "towns"}, "spec": body}
    )


def reading(folder: Path, spec: MapRunSpec, local: bytes | None = None) -> list[Block]:
    resolved = resolving.resolve(spec, CONTEXT)
    return list(open_source(resolved, BucketsRef(root=str(folder)).open(), CONTEXT, local=local).blocks)


def read(folder: Path, config: Any, parameters: dict[str, str], objects: list[str]) -> list[Block]:
    """What a reader makes of objects of the bucket `data`: key, content, key, content, …"""
    for key, content in zip(objects[::2], objects[1::2], strict=True):
        place = folder / "data" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(packed(key, content))
    kind = "s3:getObject" if "key" in parameters else "s3:listObjectsV2"
    call = {"bucket": "data", **parameters}
    return reading(folder, spec_of({"itemReader": {"resource": kind, "parameters": call, "readerConfig": config}}))


def packed(key: str, content: str) -> bytes:
    if content.startswith("id BIGINT"):
        table = arrow.table({"id": arrow.array([1], arrow.int64()), "town": ["Bern"]})
        pq.write_table(table, sink := io.BytesIO())
        return sink.getvalue()
    data = content.encode()
    return gzip.compress(data) if key.endswith(".gz") else data


def values(blocks: list[Block]) -> list[str]:
    """The items as JSON."""
    return [msgspec.json.encode(value).decode() for block in blocks for value in block.values]


ITEMS = rows("| `readerConfig` | `parameters` besides `bucket` | objects | items |")


@pytest.mark.parametrize("row", ITEMS, ids=[f"{row[0]} of {row[2]}"[:90] for row in ITEMS])
def test_an_item_is_what_its_row_says(tmp_path: Path, row: list[str]) -> None:
    (config,), (parameters,), objects, items = map(codes, row)
    found = values(read(tmp_path, yaml.safe_load(config), yaml.safe_load(parameters), objects))
    assert [told_alike(item) for item in found] == [told_alike(item.replace("\n", "⏎")) for item in items]


def told_alike(item: str) -> Any:
    """The item; of a listing without what every server tells differently, if it has the same form."""
    value = json.loads(ETAG.sub('"ETAG"', item))
    if isinstance(value, dict) and isinstance(value.get("LastModified"), float):
        value["LastModified"] = 0.0
    return value


CSV = rows("| file | items | rule |")


@pytest.mark.parametrize("row", CSV, ids=[row[2][:60] + " " + row[0] for row in CSV])
def test_csv(tmp_path: Path, row: list[str]) -> None:
    (text,), items, _ = map(codes, row)
    assert values(read(tmp_path, FIRST_ROW, {"key": "a"}, ["a", text])) == items


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_all_ends_of_rows(tmp_path: Path, end: str) -> None:
    text = f"\ufeffa,b{end}1,2{end}"
    assert values(read(tmp_path, FIRST_ROW, {"key": "a"}, ["a", text])) == ['{"a":"1","b":"2"}']


ERRORS = rows("| `readerConfig` | content | cause |")


@pytest.mark.parametrize("row", ERRORS, ids=[row[2] for row in ERRORS])
def test_an_error_is_what_its_row_says(tmp_path: Path, row: list[str]) -> None:
    (config,), (content,), (cause,) = map(codes, row)
    with pytest.raises(RunFailed) as caught:
        read(tmp_path, yaml.safe_load(config), {"key": "a"}, ["a", content])
    failure = caught.value.failure
    assert (failure.error, failure.cause) == ("States.ItemReaderFailed", cause)


MAX = rows("| `maxItemsPath: $.n` leads to | `maxItems` is |")


@pytest.mark.parametrize(("given", "told"), MAX, ids=[row[0] for row in MAX])
def test_max_items(given: str, told: str) -> None:
    config = {"inputType": "JSON", "maxItemsPath": "$.n"}
    reader = {"resource": "s3:getObject", "parameters": {"bucket": "data", "key": "a"}, "readerConfig": config}
    spec = spec_of({"input": {"n": json.loads(codes(given)[0])}, "itemReader": reader})
    if not told.startswith("an error"):
        resolved = resolving.resolve(spec, CONTEXT).item_reader
        assert resolved is not None
        assert [str(resolved.reader_config.max_items)] == codes(told)
        return
    with pytest.raises(RunFailed) as caught:
        resolving.resolve(spec, CONTEXT)
    error, cause = codes(told)
    assert caught.value.failure.error == error
    assert caught.value.failure.cause.endswith(cause)
    assert caught.value.failure.cause.startswith("An error occurred") == (error == "States.Runtime")


def test_max_items_hides_what_is_wrong_behind_it(tmp_path: Path) -> None:
    config = {"inputType": "JSONL", "maxItems": 2}
    assert values(read(tmp_path, config, {"key": "a"}, ["a", "1\n2\n{\n"])) == ["1", "2"]


SOURCES = [
    ({"key": "in/a"}, {"inputType": "JSONL"}, "s3://data/in/a"),
    ({"prefix": "in/"}, {}, "s3://data"),
    ({"prefix": "in/"}, {"transformation": "LOAD_AND_FLATTEN", "inputType": "JSONL"}, "s3://data/in/a"),
]


@pytest.mark.parametrize(("parameters", "config", "source"), SOURCES, ids=[row[2] for row in SOURCES])
def test_where_an_item_says_it_comes_from(
    tmp_path: Path, parameters: dict[str, str], config: dict[str, str], source: str
) -> None:
    assert [block.uri for block in read(tmp_path, config, parameters, ["in/a", "1\n"])] == [source]


def test_where_items_without_s3_say_they_come_from(tmp_path: Path) -> None:
    assert [block.uri for block in reading(tmp_path, spec_of({"input": [1]}))] == ["STATE_DATA"]
    for resource in ("configmap", "secret"):
        reader = {"resource": resource, "parameters": {"name": "n", "key": "k"}, "readerConfig": {"inputType": "JSON"}}
        blocks = reading(tmp_path, spec_of({"itemReader": reader}), b'{"be":"Bern"}')
        assert [(block.uri, block.keys) for block in blocks] == [(f"{resource}://n/k", ["be"])]


BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
CHILDREN = re.findall(r"```json\n(.*?)```", DOCS, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_each_yaml_block_is_valid_and_gives_what_is_shown(tmp_path: Path, block: str) -> None:
    spec = spec_of(yaml.safe_load(block))
    resolved = resolving.resolve(spec, CONTEXT)
    if spec.item_reader is None:
        assert children(tmp_path, resolved) == CHILDREN[0].splitlines()


def children(folder: Path, spec: MapRunSpec) -> list[str]:
    """The inputs of all children."""
    batches, encoded = batching(spec.item_batcher), inputs(spec, CONTEXT)
    found = []
    for block in reading(folder, spec):
        items, wrong = encoded(Items(block.first, block.values, block.keys, block.uri))
        assert wrong is None
        found += list(batches.add(items, block.behind))
    return [each.input.decode() for each in [*found, *batches.finish()]]


def test_the_blocks_are_all_there() -> None:
    """Two of them, in both languages, have the same children; the others read from somewhere."""
    assert (len(BLOCKS), len(CHILDREN)) == (5, 1)
    assert len([block for block in BLOCKS if "itemReader" not in block]) == 2


LIMITS = {
    "an item as it is read (a CSV row, a JSON value)": decoding.MAX_ITEM >> 20,
    "a child's input: the item, or the whole batch": PAYLOAD_LIMIT,
    "nesting of an item": nesting.MAX_NESTING,
    "items": MAX_ITEMS,
    "a manifest": (sources_manifest.MAX_BYTES >> 20, manifests.MAX_FILES),
    "a row group of a Parquet file": parquet.MAX_GROUP >> 20,
}


def test_limits_are_those_of_the_code() -> None:
    told = dict(rows("| what | at most |"))
    for what, limit in LIMITS.items():
        numbers = limit if isinstance(limit, tuple) else (limit,)
        assert [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", told[what])] == list(numbers), what


def test_bounds_of_languages_are_those_of_the_code() -> None:
    assert f"A path has at most {paths.MAX_LENGTH:,} characters" in DOCS
    assert f"Each is at most {jsonata.MAX_LENGTH:,} bytes long" in DOCS
    assert f"in steps ({jsonata_engine.MAX_STEPS:,}," in DOCS
    assert f"in depth ({jsonata_engine.MAX_DEPTH})" in DOCS
    assert f"first {decoding.MAX_SKIPPED >> 20} MB" in DOCS


@pytest.mark.parametrize("page", ["readers.md", "results.md"])
def test_each_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "docs" / page).read_text("utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / "docs" / link).exists()] == []
