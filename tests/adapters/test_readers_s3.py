"""The readers against a real S3 server: what only a server can show is versions, owners, pages, and long bodies."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as arrow
import pytest
from pyarrow import parquet

from maprun.adapters import s3
from maprun.adapters.s3 import S3Store
from maprun.adapters.s3_access import S3Access
from maprun.adapters.sources import Resume, Source, open_source
from maprun.adapters.stores import S3Buckets
from maprun.errors import RunFailed, StatesError
from maprun.model import MapRunSpec
from tests.cluster.s3 import S3Server

JOB = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "handler:1"}]}}}}
FLATTEN = {"transformation": "LOAD_AND_FLATTEN"}
CSV = {"inputType": "CSV", "csvHeaderLocation": "FIRST_ROW"}
JSONL = {"inputType": "JSONL"}


@pytest.fixture
def access(s3_server: S3Server) -> S3Access:
    return S3Access(s3_server.endpoint, s3_server.region, s3_server.access_key, s3_server.secret_key)


@pytest.fixture
def client(access: S3Access) -> Any:
    return s3.client(access)


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"readers-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return name


Open = Callable[..., Source]


@pytest.fixture
def opened(access: S3Access, bucket: str) -> Open:
    """Opens the dataset that a reader names: `key` or, without one, a listing; `config` and other parameters."""

    def open_(config: dict[str, Any], resume: Resume = Resume(), **parameters: str) -> Source:
        resource = "s3:getObject" if "key" in parameters else "s3:listObjectsV2"
        reader = {
            "resource": resource,
            "parameters": {"bucket": bucket, **parameters},
            "readerConfig": config,
        }
        fields = {"itemProcessor": {"jobTemplate": JOB}, "itemReader": reader}
        return open_source(msgspec.convert(fields, MapRunSpec), S3Buckets(access), {}, resume)

    return open_


def items(source: Source) -> list[Any]:
    return [value for block in source.blocks for value in block.values]


@pytest.mark.parametrize(
    ("key", "config", "content", "expected"),
    [
        pytest.param("a b/ö.csv", CSV, b'x,y\r\n"1,2",3\r\n', [{"x": "1,2", "y": "3"}], id="CSV under any key"),
        pytest.param("k.csv.gz", CSV, gzip.compress(b"x\n1\n"), [{"x": "1"}], id="compressed CSV"),
        pytest.param("k.json", {"inputType": "JSON"}, b'{"a":{"n":1}}', [{"n": 1}], id="JSON"),
        pytest.param("k.jsonl", JSONL, b'{"n":1}\n{"n":2}\n', [{"n": 1}, {"n": 2}], id="JSON Lines"),
        pytest.param(
            "k.jsonl.gz", JSONL, gzip.compress(b"1\n") + gzip.compress(b"2\n"), [1, 2], id="gzip, two members"
        ),
        pytest.param("empty", JSONL, b"", [], id="an empty object"),
    ],
)
def test_formats(
    client: Any, bucket: str, opened: Open, key: str, config: dict[str, Any], content: bytes, expected: list[Any]
) -> None:
    client.put_object(Bucket=bucket, Key=key, Body=content)
    source = opened(config, key=key)
    blocks = list(source.blocks)
    assert [value for block in blocks for value in block.values] == expected
    assert {block.uri for block in blocks} <= {f"s3://{bucket}/{key}"}
    assert source.fingerprint == client.head_object(Bucket=bucket, Key=key)["ETag"]


def test_a_long_object_is_read_in_pieces_and_goes_on_anywhere(client: Any, bucket: str, opened: Open) -> None:
    rows = "".join(f'{n},"line {n}\nof ""two"""\n' for n in range(60_000)).encode()
    client.put_object(Bucket=bucket, Key="long.csv", Body=b"n,text\n" + rows)
    whole = items(opened(CSV, key="long.csv"))
    assert len(whole) == 60_000
    assert whole[43_210] == {"n": "43210", "text": 'line 43210\nof "two"'}
    source = opened(CSV, key="long.csv")
    assert items(opened(CSV, Resume(43_210, "", source.fingerprint), key="long.csv")) == whole[43_210:]


def test_a_parquet_file_is_read_by_row_groups_in_one_version(client: Any, bucket: str, opened: Open) -> None:
    table = arrow.table({"n": range(5000), "text": [f"row {n}" for n in range(5000)]})
    sink = arrow.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=1500)
    client.put_object(Bucket=bucket, Key="k", Body=sink.getvalue().to_pybytes())
    source = opened({"inputType": "PARQUET"}, key="k")
    assert items(source) == table.to_pylist()
    resume = Resume(4321, "", source.fingerprint)
    assert items(opened({"inputType": "PARQUET"}, resume, key="k")) == table.to_pylist()[4321:]
    source = opened({"inputType": "PARQUET"}, key="k")
    client.put_object(Bucket=bucket, Key="k", Body=b"other")
    with pytest.raises(RunFailed, match=r"key k changed.*start a new run"):
        items(source)


def test_the_version_asked_for_is_read(client: Any, bucket: str, opened: Open) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    older = client.put_object(Bucket=bucket, Key="k", Body=b"1\n2\n")["VersionId"]
    client.put_object(Bucket=bucket, Key="k", Body=b"3\n")
    assert items(opened(JSONL, key="k")) == [3]
    source = opened(JSONL, key="k", versionId=older)
    assert items(source) == [1, 2]
    assert items(opened(JSONL, Resume(1, "", source.fingerprint), key="k", versionId=older)) == [2]


def test_a_version_that_is_not_there_fails_and_says_so(client: Any, bucket: str, opened: Open) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=bucket, Key="k", Body=b"1\n")
    with pytest.raises(RunFailed, match=f"bucket {bucket}, key k: the object has no such version") as caught:
        opened(JSONL, key="k", versionId="01HZZZZZZZZZZZZZZZZZZZZZZZ")
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        pytest.param(JSONL, {"key": "k"}, id="an object"),
        pytest.param({}, {}, id="a listing"),
        pytest.param(JSONL | FLATTEN, {}, id="the contents of a listing"),
        pytest.param({"manifestType": "S3_INVENTORY"}, {"key": "manifest.json"}, id="a manifest"),
    ],
)
def test_a_bucket_of_another_account_fails(
    client: Any, bucket: str, opened: Open, config: dict[str, Any], parameters: dict[str, str]
) -> None:
    """The server checks the header, and its own account is none of 12 digits."""
    client.put_object(Bucket=bucket, Key="k", Body=b"1\n")
    client.put_object(Bucket=bucket, Key="manifest.json", Body=b"{}")
    with pytest.raises(RunFailed, match="expectedBucketOwner must own the bucket: 123456789012") as caught:
        items(opened(config, **parameters, expectedBucketOwner="123456789012"))
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED


def test_the_right_owner_may_read(client: Any, bucket: str, s3_server: S3Server) -> None:
    store = S3Store(client, bucket, owner=s3_server.access_key)  # what this server calls its account
    store.create("k", b"1\n")
    assert store.read("k") == b"1\n"
    assert [info.key for info in store.list()] == ["k"]


def test_a_listing_is_followed_over_all_its_pages(client: Any, bucket: str, opened: Open) -> None:
    """1,006 objects are 1,006 items (§12)."""
    keys = [f"many/{number:04}" for number in range(1006)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=b"1\n"), [*keys, "other"]))
    found = items(opened({}, prefix="many/"))
    assert [item["Key"] for item in found] == keys
    assert set(found[0]) == {"Etag", "Key", "LastModified", "Size", "StorageClass"}
    assert isinstance(found[0]["LastModified"], float)
    assert [item["Key"] for item in items(opened({}, Resume(1001, keys[1000]), prefix="many/"))] == keys[1001:]
    assert items(opened(JSONL | FLATTEN, prefix="many/100")) == [1] * 6


def test_loading_goes_on_in_the_middle_and_knows_a_changed_object(client: Any, bucket: str, opened: Open) -> None:
    for key, content in (("in/", b""), ("in/a.csv", b"x\n1\n2\n"), ("in/b.csv.gz", gzip.compress(b"y\n3\n"))):
        client.put_object(Bucket=bucket, Key=key, Body=content)
    blocks = list(opened(CSV | FLATTEN, prefix="in/").blocks)
    assert [(block.first, block.values[0], block.uri) for block in blocks] == [
        (0, {"x": "1"}, f"s3://{bucket}/in/a.csv"),
        (2, {"y": "3"}, f"s3://{bucket}/in/b.csv.gz"),
    ]
    assert isinstance(blocks[0].behind, str)
    resume = Resume(1, blocks[0].behind)
    assert items(opened(CSV | FLATTEN, resume, prefix="in/")) == [{"x": "2"}, {"y": "3"}]
    client.put_object(Bucket=bucket, Key="in/a.csv", Body=b"x\n1\nother\n")
    with pytest.raises(RunFailed, match=r"key in/a\.csv changed.*start a new run"):
        items(opened(CSV | FLATTEN, resume, prefix="in/"))
    client.delete_object(Bucket=bucket, Key="in/a.csv")
    with pytest.raises(RunFailed, match=r"key in/a\.csv: the object does not exist"):
        items(opened(CSV | FLATTEN, resume, prefix="in/"))


def test_an_inventory_is_read_over_its_files(client: Any, bucket: str, opened: Open) -> None:
    manifest = {
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key",
        "files": [{"key": f"files/{number}.csv.gz"} for number in range(3)],
    }
    client.put_object(Bucket=bucket, Key="manifest.json", Body=json.dumps(manifest).encode())
    for number in range(3):
        row = gzip.compress(f'"data","key {number}"\n'.encode())
        client.put_object(Bucket=bucket, Key=f"files/{number}.csv.gz", Body=row)
    source = opened({"inputType": "MANIFEST"}, key="manifest.json")
    blocks = list(source.blocks)
    assert [value for block in blocks for value in block.values] == [
        {"Bucket": "data", "Key": f"key {number}"} for number in range(3)
    ]
    assert isinstance(blocks[1].behind, str)
    resume = Resume(2, blocks[1].behind, source.fingerprint)
    assert items(opened({"inputType": "MANIFEST"}, resume, key="manifest.json")) == [{"Bucket": "data", "Key": "key 2"}]
