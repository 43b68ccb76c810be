"""Datasets to items: every reader, its place in the dataset, going on in the middle, and what may go wrong."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as arrow
import pytest
from pyarrow import parquet

from maprun.adapters.sources import Block, Resume, Source, open_source
from maprun.adapters.stores import DirectoryBuckets
from maprun.errors import AccessDenied, RunFailed, StatesError, StoreUnavailable
from maprun.model import MapRunSpec
from tests.unit.fake_store import FakeReading, FakeStore

Json = dict[str, Any]

JOB = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "handler:1"}]}}}}
ROWS = b"id,name\n1,a\n2,b\n3,c\n"


class Item(NamedTuple):
    """An item as a run sees it, and the bookmark behind it."""

    index: int
    key: str | None
    value: Any
    source: str
    behind: str = ""


class Buckets:
    """Buckets in memory. `owners` is who was asked for, on each use of a bucket."""

    def __init__(self, **buckets: dict[str, bytes]) -> None:
        self.stores = {name: Store(objects) for name, objects in buckets.items()}
        self.owners: list[str] = []

    def bucket(self, name: str, owner: str = "") -> Store:
        self.owners.append(owner)
        return self.stores[name]


class Store(FakeStore):
    """Notes the versions asked for, and keeps what was opened. `chunk` is small, so that no block is a whole file."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(objects, chunk=5)
        self.versions: list[str] = []
        self.readings: list[FakeReading] = []

    def open(self, key: str, if_match: str = "", version: str = "") -> FakeReading:
        self.versions.append(version)
        self.readings.append(super().open(key, if_match))
        return self.readings[-1]


def parquet_of(rows: list[Json]) -> bytes:
    """A Parquet file with two rows in each row group."""
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.Table.from_pylist(rows), sink, row_group_size=2)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def spec_of(**fields: Any) -> MapRunSpec:
    return msgspec.convert({"itemProcessor": {"jobTemplate": JOB}, **fields}, MapRunSpec)


def get(key: str, config: Json | None = None, **parameters: Any) -> Json:
    """A reader of one object in the bucket `data`."""
    return {
        "resource": "s3:getObject",
        "parameters": {"bucket": "data", "key": key, **parameters},
        "readerConfig": config or {},
    }


def listing(config: Json | None = None, **parameters: Any) -> Json:
    """A reader of the bucket `data`."""
    return {
        "resource": "arn:aws:states:::s3:listObjectsV2",
        "parameters": {"bucket": "data", **parameters},
        "readerConfig": config or {},
    }


def loading(kind: str, **config: Any) -> Json:
    """A reader of what is inside the objects of the bucket `data`."""
    return listing({"inputType": kind, "transformation": "LOAD_AND_FLATTEN", **config})


def csv(location: str = "FIRST_ROW", **config: Any) -> Json:
    return {"inputType": "CSV", "csvHeaderLocation": location, **config}


def opened(reader: Json, buckets: Any, resume: Resume = Resume(), local: bytes | None = None) -> Source:
    return open_source(spec_of(itemReader=reader), buckets, {}, resume, local)


def each(blocks: Iterator[Block]) -> Iterator[Item]:
    for block in blocks:
        assert 0 < len(block.values) <= 1000
        for at, value in enumerate(block.values):
            mark = block.behind if isinstance(block.behind, str) else block.behind[at]
            yield Item(block.first + at, block.keys and block.keys[at], value, block.uri, mark)


def read(reader: Json, buckets: Any, resume: Resume = Resume(), local: bytes | None = None) -> list[Item]:
    source = opened(reader, buckets, resume, local)
    with closing(source.blocks):
        items = list(each(source.blocks))
    assert [item.index for item in items] == list(range(resume.item, resume.item + len(items)))
    return items


def values(reader: Json, buckets: Any, local: bytes | None = None) -> list[Any]:
    return [item.value for item in read(reader, buckets, local=local)]


def failure(reader: Json, buckets: Any, resume: Resume = Resume(), local: bytes | None = None) -> tuple[str, str]:
    """Cause and hint of an `ItemReaderFailed`."""
    with pytest.raises(RunFailed) as caught:
        read(reader, buckets, resume, local)
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED
    return caught.value.failure.cause, caught.value.failure.hint


# ---------------------------------------------------------------------------------------------------- recorded by AWS

SPEECH = [{"verdict": "true", "n": 1}, {"verdict": "false", "n": 2}, {"verdict": "mostly-true", "n": 3}]
TYPED = b"0,True,{}\nValue4,Value5,Value6\n,,,\ntrue,1,'HelloWorld'\nNull,None,\n   \n"
TYPED_ROWS = [
    ["Value4", "Value5", "Value6"],
    ["", "", ""],
    ["true", "1", "'HelloWorld'"],
    ["Null", "None", ""],
    ["   ", "", ""],
]
COLUMNS = b"Col1,Col2\nValue1,Value2\nValue3,Value4\nValue5,Value6\nValue7,Value8\n"
PIPES = b'id|text|blank\r\n1|"one|pipe"|\r\n2|"two ""quoted"""|x\r\n3|"three\nnewline"|y\r\n4|four|\r\n5|excluded|z\r\n'


@pytest.mark.parametrize(
    ("config", "content", "expected"),
    [
        pytest.param({"inputType": "JSON"}, json.dumps(SPEECH).encode(), SPEECH, id="map_item_reader_base_json"),
        pytest.param(
            {"inputType": "JSON", "maxItems": 2},
            json.dumps(SPEECH).encode(),
            SPEECH[:2],
            id="map_item_reader_base_json_max_items",
        ),
        pytest.param(
            {"inputType": "JSON", "itemsPointer": "/data/items", "maxItems": 4},
            b'{"data":{"items":[{"n":0},{"n":1},{"n":2},{"n":3},{"n":4}]}}\n',
            [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}],
            id="json_pointer_batch",
        ),
        pytest.param(
            csv("GIVEN", csvHeaders=["H1", "H2", "H3"]),
            TYPED,
            [dict(zip(("H1", "H2", "H3"), row, strict=True)) for row in [["0", "True", "{}"], *TYPED_ROWS]],
            id="map_item_reader_base_csv_headers_decl",
        ),
        pytest.param(
            csv(),
            TYPED,
            [dict(zip(("0", "True", "{}"), row, strict=True)) for row in TYPED_ROWS],
            id="map_item_reader_csv_headers_first_row_typed_headers",
        ),
        pytest.param(
            csv(maxItems=0),
            COLUMNS,
            [{"Col1": f"Value{n}", "Col2": f"Value{n + 1}"} for n in (1, 3, 5, 7)],
            id="map_item_reader_csv_max_items_paths_0",
        ),
        pytest.param(
            csv(maxItems=2),
            COLUMNS,
            [{"Col1": f"Value{n}", "Col2": f"Value{n + 1}"} for n in (1, 3)],
            id="map_item_reader_csv_max_items_paths_2",
        ),
        pytest.param(
            csv(csvDelimiter="PIPE", maxItems=4),
            PIPES,
            [
                {"id": "1", "text": "one|pipe", "blank": ""},
                {"id": "2", "text": 'two "quoted"', "blank": "x"},
                {"id": "3", "text": "three\nnewline", "blank": "y"},
                {"id": "4", "text": "four", "blank": ""},
            ],
            id="csv_pipe_batch",
        ),
    ],
)
def test_items_recorded_of_aws(config: Json, content: bytes, expected: list[Any]) -> None:
    assert values(get("file", config), Buckets(data={"file": content})) == expected


def test_a_listing_recorded_of_aws() -> None:
    """`map_item_reader_base_list_objects_v2`; the form of time and ETag is that of the captures."""
    buckets = Buckets(data={f"file_{n}.txt": b"%dHelloWorld!" % n for n in range(3)})
    items = read(listing(), buckets)
    assert [list(item.value) for item in items] == [["Etag", "Key", "LastModified", "Size", "StorageClass"]] * 3
    assert [item.value["Key"] for item in items] == ["file_0.txt", "file_1.txt", "file_2.txt"]
    first = items[0].value
    assert (first["Size"], first["StorageClass"]) == (12, "STANDARD")
    assert repr(first["LastModified"]) == "1790204286.0"
    assert first["Etag"] == buckets.stores["data"].etag("file_0.txt")
    assert first["Etag"].startswith('"')
    assert {item.source for item in items} == {"s3://data"}


def test_loading_recorded_of_aws() -> None:
    """`s3_load_flatten`."""
    buckets = Buckets(data={"flat/data.jsonl": b'{"n":10}\n{"n":11}\n{"n":12}\n', "other": b"x"})
    reader = listing({"inputType": "JSONL", "transformation": "LOAD_AND_FLATTEN", "maxItems": 2}, prefix="flat/")
    source = "s3://data/flat/data.jsonl"
    assert [item[:4] for item in read(reader, buckets)] == [
        (0, None, {"n": 10}, source),
        (1, None, {"n": 11}, source),
    ]


@pytest.mark.parametrize(
    ("config", "content", "cause"),
    [
        pytest.param(
            csv("GIVEN", csvHeaders=["H1", "H1", "H3"]),
            b"1,2,3\n",
            "CSV headers cannot contain duplicates.",
            id="map_item_reader_csv_headers_decl_duplicate_headers",
        ),
        pytest.param({"inputType": "JSON"}, b"3", "Attempting to map over non-iterable node.", id="JSON of a number"),
    ],
)
def test_errors_recorded_of_aws_keep_their_text_and_the_hint_names_the_object(
    config: Json, content: bytes, cause: str
) -> None:
    told, hint = failure(get("file", config), Buckets(data={"file": content}))
    assert told == cause
    assert hint.startswith("spec.itemReader: s3://data/file must be ")


# ------------------------------------------------------------------------------------------------------- one object


@pytest.mark.parametrize(
    ("key", "config", "content", "expected"),
    [
        pytest.param("k", csv(), ROWS, [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}, {"id": "3", "name": "c"}],
                     id="CSV"),
        pytest.param("k", csv("GIVEN", csvHeaders=["x"]), b"1,2\n", [{"x": "1"}], id="CSV with given headers"),
        pytest.param("k", csv(csvHeaders=["ignored"]), b"x\n1\n", [{"x": "1"}], id="given headers are ignored (§1.2)"),
        pytest.param("k", csv(csvDelimiter="PIPE"), b"x|y\n1|,\n", [{"x": "1", "y": ","}], id="PIPE"),
        pytest.param("k", csv(csvDelimiter="SEMICOLON"), b"x;y\n1;,\n", [{"x": "1", "y": ","}], id="SEMICOLON"),
        pytest.param("k", csv(csvDelimiter="SPACE"), b"x y\n1 ,\n", [{"x": "1", "y": ","}], id="SPACE"),
        pytest.param("k", csv(csvDelimiter="TAB"), b"x\ty\n1\t,\n", [{"x": "1", "y": ","}], id="TAB"),
        pytest.param("k", {"inputType": "JSON"}, b'[1,"a",null,[2]]', [1, "a", None, [2]], id="a JSON array"),
        pytest.param("k", {"inputType": "JSON"}, b'{"a":1,"":2}', [1, 2], id="a JSON object's values"),
        pytest.param("k", {"inputType": "JSONL"}, b"1\n\n[2]\n", [1, [2]], id="JSON Lines"),
        pytest.param("k.csv.gz", csv(), gzip.compress(b"x\n1\n"), [{"x": "1"}], id="compressed CSV"),
        pytest.param("k.json.gz", {"inputType": "JSON"}, gzip.compress(b"[1,2]"), [1, 2], id="compressed JSON"),
        pytest.param("k.jsonl.gz", {"inputType": "JSONL"}, gzip.compress(b"1"), [1], id="compressed JSON Lines"),
        pytest.param("k", {"inputType": "PARQUET"}, parquet_of([{"n": 1}] * 3), [{"n": 1}] * 3, id="Parquet"),
        pytest.param("k", csv(), b"", [], id="an empty CSV file has no items"),
        pytest.param("k", {"inputType": "JSONL"}, b"", [], id="an empty JSON Lines file has none"),
    ],
)  # fmt: skip
def test_formats(key: str, config: Json, content: bytes, expected: list[Any]) -> None:
    buckets = Buckets(data={key: content})
    items = read(get(key, config), buckets)
    assert [item.value for item in items] == expected
    assert {item.source for item in items} <= {f"s3://data/{key}"}
    assert all(reading.closed for reading in buckets.stores["data"].readings)


def test_the_members_of_an_object_have_keys() -> None:
    items = read(get("k", {"inputType": "JSON"}), Buckets(data={"k": b'{"a":{"x":1},"":null}'}))
    assert [(item.key, item.value) for item in items] == [("a", {"x": 1}), ("", None)]


def test_a_version_is_asked_for() -> None:
    buckets = Buckets(data={"k": b"1\n"})
    read(get("k", {"inputType": "JSONL"}, versionId="v7"), buckets)
    assert buckets.stores["data"].versions == ["v7"]


def test_a_directory_has_no_versions(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "k").write_bytes(b"1\n")
    cause, _ = failure(get("k", {"inputType": "JSONL"}, versionId="v7"), DirectoryBuckets(tmp_path))
    assert cause == (
        "spec.itemReader.parameters: bucket data: key 'k': a directory keeps no versions; leave versionId out"
    )


def test_a_directory_belongs_to_no_account(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "k").write_bytes(b"1\n")
    assert values(get("k", {"inputType": "JSONL"}, expectedBucketOwner="1" * 12), DirectoryBuckets(tmp_path)) == [1]


INVENTORY = {
    "sourceBucket": "data",
    "destinationBucket": "arn:aws:s3:::lists",
    "fileFormat": "CSV",
    "fileSchema": "Bucket, Key, Size",
    "files": [{"key": "one.csv.gz"}, {"key": "two.csv.gz"}],
}
LISTS = {
    "one.csv.gz": gzip.compress(b'"data","a","1"\n"data","b","2"\n'),
    "two.csv.gz": gzip.compress(b'"data","c","3"\n'),
}
ATHENA = b"s3://lists/x.csv\ns3://lists/y.csv\ns3://lists/x.csv\n"
ATHENA_FILES = {"x.csv": b"1\n2\n", "y.csv": b"3\n"}


def datasets() -> Buckets:
    """One bucket with objects for every reader, and one with what the manifests list."""
    return Buckets(
        data={
            "many/a.csv": b"x,y\n1,2\n3,4\n",
            "many/b.csv": b"y\n5\n",
            "rows.csv": ROWS,
            "rows.json": b'[1,2,{"a":3}]',
            "object.json": b'{"a":1,"b":2,"c":3}',
            "rows.jsonl": b"1\n2\n3\n",
            "rows.parquet": parquet_of([{"n": n} for n in range(4)]),
            "manifest.json": json.dumps(INVENTORY).encode(),
            "manifest.csv": ATHENA,
        },
        lists={**LISTS, **ATHENA_FILES},
    )


EVERY = [
    pytest.param(get("rows.csv", csv()), id="CSV"),
    pytest.param(get("rows.json", {"inputType": "JSON"}), id="a JSON array"),
    pytest.param(get("object.json", {"inputType": "JSON"}), id="a JSON object"),
    pytest.param(get("rows.jsonl", {"inputType": "JSONL"}), id="JSON Lines"),
    pytest.param(get("rows.parquet", {"inputType": "PARQUET"}), id="Parquet"),
    pytest.param(listing(), id="a listing"),
    pytest.param(
        listing({**csv(), "transformation": "LOAD_AND_FLATTEN"}, prefix="many/"), id="the contents of a listing"
    ),
    pytest.param(get("manifest.json", {"manifestType": "S3_INVENTORY"}), id="an inventory"),
    pytest.param(
        get("manifest.csv", csv("GIVEN", csvHeaders=["n"], manifestType="ATHENA_DATA")),
        id="an Athena manifest with one file twice",
    ),
]


@pytest.mark.parametrize("reader", EVERY)
def test_reading_goes_on_behind_any_item(reader: Json) -> None:
    buckets = datasets()
    fingerprint = opened(reader, buckets).fingerprint
    whole = read(reader, buckets)
    assert len(whole) >= 3
    for number in range(1, len(whole) + 1):
        resume = Resume(number, whole[number - 1].behind, fingerprint)
        assert read(reader, buckets, resume) == whole[number:]


@pytest.mark.parametrize("reader", EVERY)
def test_max_items_cuts_and_looks_no_further(reader: Json) -> None:
    whole = read(reader, datasets())
    for most in range(1, len(whole) + 2):
        limited = {**reader, "readerConfig": {**reader["readerConfig"], "maxItems": most}}
        buckets = datasets()
        assert read(limited, buckets) == whole[:most]
        assert all(reading.closed for store in buckets.stores.values() for reading in store.readings)
        if most <= len(whole):
            behind = Resume(most, whole[most - 1].behind)
            assert read(limited, buckets, behind) == []


@pytest.mark.parametrize(
    ("config", "content", "good"),
    [
        pytest.param(csv(), b"x\n1\n2\n\xff\n", 2, id="CSV"),
        pytest.param({"inputType": "JSON"}, b"[1,2,}", 2, id="JSON"),
        pytest.param({"inputType": "JSONL"}, b"1\n2\n}\n", 2, id="JSON Lines"),
    ],
)
def test_what_is_wrong_behind_the_last_wanted_item_does_not_matter(config: Json, content: bytes, good: int) -> None:
    buckets = Buckets(data={"k": content})
    assert len(values(get("k", {**config, "maxItems": good}), buckets)) == good
    assert "cannot be read as" in failure(get("k", {**config, "maxItems": good + 1}), buckets)[0]


# ------------------------------------------------------------------------------------------------------ many objects


def test_loading_counts_on_and_each_object_is_the_source_of_its_own_items() -> None:
    items = read(loading("CSV", csvHeaderLocation="FIRST_ROW"), Buckets(data={"b": b"y\n3\n", "a": b"x\n1\n2\n"}))
    assert [item[:4] for item in items] == [
        (0, None, {"x": "1"}, "s3://data/a"),
        (1, None, {"x": "2"}, "s3://data/a"),
        (2, None, {"y": "3"}, "s3://data/b"),
    ]


@pytest.mark.parametrize(
    ("reader", "objects", "expected"),
    [
        pytest.param(
            loading("CSV", csvHeaderLocation="GIVEN", csvHeaders=["x"]),
            {"a": b"1\n", "b": b"2\n"},
            [{"x": "1"}, {"x": "2"}],
            id="CSV with given headers",
        ),
        pytest.param(loading("JSON"), {"a": b"[1]", "b": b'{"k":2}'}, [1, 2], id="JSON arrays and objects"),
        pytest.param(
            loading("JSON", itemsPointer="/r"), {"a": b'{"r":[1]}', "b": b'{"r":[2]}'}, [1, 2], id="a pointer"
        ),
        pytest.param(loading("JSONL"), {"a": b"1\n2", "b": b"3"}, [1, 2, 3], id="JSON Lines"),
        pytest.param(loading("JSONL"), {"a.gz": gzip.compress(b"1"), "b": b"2"}, [1, 2], id="each by its extension"),
        pytest.param(
            loading("JSON"), {"a/": b"", "a/x": b"[1]"}, [1], id="an empty object for a folder is passed over"
        ),
        pytest.param(loading("JSONL"), {"a": b"", "b": b"1", "c": b""}, [1], id="empty files have no items"),
        pytest.param(
            loading("PARQUET"),
            {"a": parquet_of([{"n": 1}]), "b": parquet_of([{"m": 2}])},
            [{"n": 1}, {"m": 2}],
            id="Parquet",
        ),
        pytest.param(loading("JSONL"), {}, [], id="no objects"),
        pytest.param(loading("JSONL"), {"z": b"1", "ä": b"2", "Z": b"0"}, [0, 1, 2], id="in the order of UTF-8 keys"),
    ],
)
def test_loading(reader: Json, objects: dict[str, bytes], expected: list[Any]) -> None:
    assert values(reader, Buckets(data=objects)) == expected


def test_a_folder_is_an_item_of_a_plain_listing() -> None:
    """AWS's words: such objects are listed and become items (§1.3)."""
    assert [item["Key"] for item in values(listing(), Buckets(data={"a/": b"", "a/x": b"1"}))] == ["a/", "a/x"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"manifestType": "S3_INVENTORY"}, ["a", "b", "c"], id="by its type"),
        pytest.param({"inputType": "MANIFEST"}, ["a", "b", "c"], id="by the older spelling"),
        pytest.param({"inputType": "MANIFEST", "maxItems": 2}, ["a", "b"], id="the first items"),
    ],
)
def test_an_inventory(config: Json, expected: list[str]) -> None:
    items = read(get("manifest.json", config), datasets())
    assert [item.value["Key"] for item in items] == expected
    assert items[0].value == {"Bucket": "data", "Key": "a", "Size": "1"}
    assert [item.source for item in items] == ["s3://lists/one.csv.gz"] * 2 + ["s3://lists/two.csv.gz"] * (
        len(expected) - 2
    )


def test_a_manifest_that_is_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maprun.adapters.sources_manifest.MAX_BYTES", 10)
    cause, hint = failure(get("manifest.json", {"inputType": "MANIFEST"}), datasets())
    assert cause.startswith("s3://data/manifest.json cannot be read as a manifest: it has more than")
    assert hint == "spec.itemReader: s3://data/manifest.json must be a manifest of the type S3_INVENTORY"


@pytest.mark.parametrize("reader", [*EVERY[:1], *EVERY[4:]])
def test_the_owner_is_asked_for_on_every_call(reader: Json) -> None:
    buckets = datasets()
    read({**reader, "parameters": {**reader["parameters"], "expectedBucketOwner": "123456789012"}}, buckets)
    assert set(buckets.owners) == {"123456789012"}
    read(reader, buckets)
    assert set(buckets.owners) == {"123456789012", ""}


# ----------------------------------------------------------------------------------------- changes, and other trouble


@pytest.mark.parametrize(
    ("reader", "bucket", "key", "items"),
    [
        pytest.param(EVERY[0].values[0], "data", "rows.csv", 1, id="one object"),
        pytest.param(EVERY[6].values[0], "data", "many/a.csv", 1, id="the object of a listing that is read on"),
        pytest.param(EVERY[6].values[0], "data", "many/a.csv", 2, id="also when all its items are planned"),
        pytest.param(EVERY[7].values[0], "data", "manifest.json", 1, id="a manifest"),
        pytest.param(EVERY[7].values[0], "lists", "one.csv.gz", 1, id="a file of a manifest"),
        pytest.param(EVERY[7].values[0], "lists", "two.csv.gz", 3, id="its last file"),
    ],
)
@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
def test_a_dataset_that_is_another_one_by_now_fails_clearly(
    reader: Json, bucket: str, key: str, items: int, gone: bool
) -> None:
    buckets = datasets()
    fingerprint = opened(reader, buckets).fingerprint
    resume = Resume(items, read(reader, buckets)[items - 1].behind, fingerprint)
    if gone:
        del buckets.stores[bucket].objects[key]
    else:
        buckets.stores[bucket].objects[key] += b"\n"
    cause, _ = failure(reader, buckets, resume)
    assert key in cause
    assert ("start a new run" in cause) != gone


def test_what_appears_in_a_listing_before_the_bookmark_moves_nothing() -> None:
    buckets = datasets()
    reader = EVERY[6].values[0]
    whole = read(reader, buckets)
    buckets.stores["data"].objects["many/a"] = b"new\n1\n"
    assert read(reader, buckets, Resume(1, whole[0].behind)) == whole[1:]


def test_an_object_that_vanishes_behind_the_listing_fails_clearly() -> None:
    buckets = Buckets(data={"a": b"1\n", "b": b"2\n"})
    source = opened(loading("JSONL"), buckets)
    assert next(each(source.blocks)).value == 1
    infos = [*buckets.stores["data"].list()]
    buckets.stores["data"].list = lambda prefix="", start_after="": iter(infos)  # type: ignore[method-assign]
    del buckets.stores["data"].objects["b"]
    cause, _ = failure(loading("JSONL"), buckets)
    assert cause == "spec.itemReader.parameters: b"


@pytest.mark.parametrize(
    ("reader", "objects", "cause"),
    [
        pytest.param(
            get("k", csv()),
            {"k": b"x\n1\n\xff\n"},
            "s3://data/k cannot be read as CSV at line 3: byte 4 of the file, 0xff, is not UTF-8.",
            id="CSV",
        ),
        pytest.param(
            get("k", {"inputType": "JSON"}),
            {"k": b"[1,]"},
            "s3://data/k cannot be read as JSON at byte 3: expecting value; found ']'.",
            id="JSON",
        ),
        pytest.param(
            get("k", {"inputType": "JSONL"}),
            {"k": b"1\n}\n"},
            "s3://data/k cannot be read as JSON at line 2, byte 2: expecting value; found '}'.",
            id="JSON Lines",
        ),
        pytest.param(
            loading("JSONL"),
            {"a": b"1\n", "b": b"2\n}\n"},
            "s3://data/b cannot be read as JSON at line 2, byte 2: expecting value; found '}'.",
            id="an object of many",
        ),
    ],
)
def test_errors_name_the_object_and_the_place_and_come_behind_what_is_right(
    reader: Json, objects: dict[str, bytes], cause: str
) -> None:
    buckets = Buckets(data=objects)
    assert failure(reader, buckets)[0] == cause
    source = opened(reader, buckets)
    assert next(each(source.blocks)).index == 0
    assert all(reading.closed for reading in buckets.stores["data"].readings[:-1])


def test_a_denied_bucket_names_the_secret_and_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Store, key: str, if_match: str = "", version: str = "") -> FakeReading:
        raise AccessDenied("denied")

    monkeypatch.setattr(Store, "open", denied)
    buckets = Buckets(data={})
    secret = "spec.itemReader.parameters: denied; spec.s3.credentialsSecretRef names the Secret with the credentials"
    assert failure(get("k", csv()), buckets)[0] == secret
    assert failure(get("k", csv(), expectedBucketOwner="123456789012"), buckets)[0] == (
        f"{secret}; spec.itemReader.parameters.expectedBucketOwner must own the bucket: 123456789012"
    )


def test_a_store_that_is_away_is_no_failure_of_the_run_and_comes_behind_what_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(self: FakeReading) -> Iterator[bytes]:
        yield b"[1,2," + b" " * 20
        raise StoreUnavailable("away")

    monkeypatch.setattr(FakeReading, "__iter__", cut)
    source = opened(get("k", {"inputType": "JSON"}), Buckets(data={"k": b""}))
    assert next(source.blocks).values == [1, 2]
    with pytest.raises(StoreUnavailable):
        next(source.blocks)


def test_closing_in_the_middle_closes_the_object() -> None:
    buckets = Buckets(data={"k": b"[" + b"1," * 5000 + b"1]"})
    source = opened(get("k", {"inputType": "JSON"}), buckets)
    assert len(next(source.blocks).values) == 1000
    source.blocks.close()
    assert buckets.stores["data"].readings[0].closed


def test_large_items_come_in_small_blocks() -> None:
    """So that a block is bounded by bytes, and not only by its number of items."""
    store = Store({"k": json.dumps(["x" * 30_000] * 50).encode()})
    store.chunk = 1 << 16
    buckets = Buckets()
    buckets.stores["data"] = store
    sizes = [len(block.values) for block in opened(get("k", {"inputType": "JSON"}), buckets).blocks]
    assert sum(sizes) == 50
    assert max(sizes) <= 6


# ------------------------------------------------------------------------------------------------- without a bucket


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"input": [1, 2]}, [(None, 1), (None, 2)], id="an array"),
        pytest.param({"input": {"a": 1, "b": 2}}, [("a", 1), ("b", 2)], id="an object"),
        pytest.param({"input": {"rows": [1]}, "itemsPath": "$.rows"}, [(None, 1)], id="itemsPath"),
        pytest.param(
            {"input": {"in": {"r": [1]}}, "inputPath": "$.in", "itemsPath": "$.r"}, [(None, 1)], id="inputPath"
        ),
        pytest.param({"input": []}, [], id="nothing"),
        pytest.param({"queryLanguage": "JSONata", "items": [1]}, [(None, 1)], id="items"),
        pytest.param(
            {"queryLanguage": "JSONata", "input": {"n": 3}, "items": "{% [1..$states.input.n] %}"},
            [(None, 1), (None, 2), (None, 3)],
            id="an expression",
        ),
    ],
)
def test_items_of_the_input(fields: Json, expected: list[tuple[str | None, Any]]) -> None:
    source = open_source(spec_of(**fields), Buckets(), {})
    items = list(each(source.blocks))
    assert [(item.key, item.value) for item in items] == expected
    assert {item.source for item in items} <= {"STATE_DATA"}
    for number in range(len(items) + 1):
        again = open_source(spec_of(**fields), Buckets(), {}, Resume(number))
        assert list(each(again.blocks)) == items[number:]


def test_many_items_of_the_input_come_in_blocks() -> None:
    source = open_source(spec_of(input=list(range(2500))), Buckets(), {}, Resume(100))
    assert [(block.first, len(block.values)) for block in source.blocks] == [(100, 1000), (1100, 1000), (2100, 400)]


def local(resource: str, key: str, config: Json) -> Json:
    return {"resource": resource, "parameters": {"name": "settings", "key": key}, "readerConfig": config}


@pytest.mark.parametrize("resource", ["configmap", "secret"])
@pytest.mark.parametrize(
    ("key", "config", "data", "expected"),
    [
        pytest.param("k", {"inputType": "JSON"}, b'{"a":1}', [(1, "a")], id="JSON"),
        pytest.param("k", {"inputType": "JSONL", "maxItems": 1}, b"1\n2\n", [(1, None)], id="JSON Lines"),
        pytest.param("k", csv(), b"x\n1\n", [({"x": "1"}, None)], id="CSV"),
        pytest.param("k.gz", {"inputType": "JSONL"}, gzip.compress(b"1\n"), [(1, None)], id="compressed"),
        pytest.param("k", {"inputType": "PARQUET"}, parquet_of([{"n": 1}]), [({"n": 1}, None)], id="Parquet"),
    ],
)
def test_a_value_in_the_namespace(
    resource: str, key: str, config: Json, data: bytes, expected: list[tuple[Any, str | None]]
) -> None:
    items = read(local(resource, key, config), Buckets(), local=data)
    assert [(item.value, item.key) for item in items] == expected
    assert {item.source for item in items} == {f"{resource}://settings/{key}"}


def test_a_value_that_changed_fails_and_one_that_did_not_goes_on() -> None:
    reader = local("secret", "k", {"inputType": "JSONL"})
    fingerprint = opened(reader, Buckets(), local=b"1\n2\n").fingerprint
    assert [item.value for item in read(reader, Buckets(), Resume(1, "", fingerprint), b"1\n2\n")] == [2]
    cause, _ = failure(reader, Buckets(), Resume(1, "", fingerprint), b"1\nhidden\n")
    assert cause.startswith("spec.itemReader.parameters: secret://settings/k changed; ")
    assert "hidden" not in cause
