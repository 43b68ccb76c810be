"""Manifests to lists of files: rows with what S3 and Athena write, and what neither would."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maprun.core import manifests
from maprun.core.manifests import MAX_FILES, Manifest
from maprun.errors import RunFailed, StatesError
from maprun.model_reading import ManifestType

INVENTORY: dict[str, Any] = {
    "sourceBucket": "source",
    "destinationBucket": "arn:aws:s3:::inventories",
    "version": "2016-11-30",
    "creationTimestamp": "1790204286000",
    "fileFormat": "CSV",
    "fileSchema": "Bucket, Key, Size, LastModifiedDate",
    "files": [
        {"key": "source/all/data/1.csv.gz", "size": 2147, "MD5checksum": "f11166069f1990abeb9c97ace9cdfabc"},
        {"key": "source/all/data/2 ü.csv.gz", "size": 2148, "MD5checksum": "f11166069f1990abeb9c97ace9cdfabd"},
    ],
}
FILES = (("inventories", "source/all/data/1.csv.gz"), ("inventories", "source/all/data/2 ü.csv.gz"))
COLUMNS = ("Bucket", "Key", "Size", "LastModifiedDate")


def inventory(key: str = "x/manifest.json", /, **changes: Any) -> Manifest:
    """The inventory with other fields; None leaves a field out."""
    fields = {name: value for name, value in (INVENTORY | changes).items() if value is not None}
    return manifests.files(msgspec.json.encode(fields), key, ManifestType.S3_INVENTORY)


def athena(data: bytes) -> Manifest:
    return manifests.files(data, "q-manifest.csv", ManifestType.ATHENA_DATA)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, Manifest(FILES, COLUMNS), id="as S3 writes it"),
        pytest.param({"destinationBucket": "inventories"}, Manifest(FILES, COLUMNS), id="a bucket by name"),
        pytest.param(
            {"destinationBucket": "arn:aws-cn:s3:::inventories"}, Manifest(FILES, COLUMNS), id="another partition"
        ),
        pytest.param({"sourceBucket": None, "version": None}, Manifest(FILES, COLUMNS), id="what is not asked for"),
        pytest.param({"fileFormat": "csv"}, Manifest(FILES, COLUMNS), id="small letters"),
        pytest.param({"fileSchema": "Bucket,Key"}, Manifest(FILES, ("Bucket", "Key")), id="a schema without blanks"),
        pytest.param({"files": []}, Manifest((), COLUMNS), id="an inventory of an empty bucket"),
    ],
)
def test_inventories(changes: dict[str, Any], expected: Manifest) -> None:
    assert inventory(**changes) == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"files": [{"key": ""}]}, "length >= 1", id="a file of no name"),
        pytest.param({"fileFormat": "ORC"}, "its fileFormat is ORC; only inventories in CSV", id="ORC"),
        pytest.param({"fileFormat": "Parquet"}, "its fileFormat is Parquet; only", id="Parquet"),
        pytest.param({"fileFormat": None}, "missing required field `fileFormat`", id="no format"),
        pytest.param({"destinationBucket": None}, "missing required field `destinationBucket`", id="no bucket"),
        pytest.param({"files": [{"size": 3}]}, r"missing required field `key` - at `\$.files", id="a file without key"),
        pytest.param({"fileSchema": "Bucket, Bucket"}, "must name different columns: 'Bucket, Bucket'", id="twice"),
        pytest.param({"fileSchema": ""}, "must name different columns: ''", id="no columns"),
        pytest.param(
            {"files": [{"key": "k"}] * (MAX_FILES + 1)}, "lists 100,001 files, and at most 100,000", id="too many files"
        ),
    ],
)
def test_what_is_no_inventory_in_csv(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RunFailed, match=told) as caught:
        inventory(**changes)
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED
    assert caught.value.failure.cause.startswith("The dataset cannot be read as a manifest of the type S3_INVENTORY: ")


@pytest.mark.parametrize("data", [b"", b"Bucket,Key\n", b'{"a":', b"[" * 100_000, b'{"fileFormat":"\xff"}'])
def test_a_file_that_is_no_manifest_is_told_by_its_key(data: bytes) -> None:
    with pytest.raises(RunFailed, match=r"the key data/1\.csv must be that of an inventory's manifest\.json"):
        manifests.files(data, "data/1.csv", ManifestType.S3_INVENTORY)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"s3://b/x/1\ns3://c/2.gz\n", (("b", "x/1"), ("c", "2.gz")), id="as Athena writes it"),
        pytest.param(b"s3://b/1\r\n\r\ns3://b/2", (("b", "1"), ("b", "2")), id="CRLF, an empty line, no end of line"),
        pytest.param(b'"s3://b/1"\n"s3://b/a""b"\n', (("b", "1"), ("b", 'a"b')), id="quoted"),
        pytest.param(b"\xef\xbb\xbfs3://b/1\n", (("b", "1"),), id="a byte order mark"),
        pytest.param("s3://b/ü, %2B+ ?#&\n".encode(), (("b", "ü, %2B+ ?#&"),), id="a key is not decoded nor cut"),
        pytest.param(b"s3://b/p=1//x\n", (("b", "p=1//x"),), id="an empty part of a key"),
        pytest.param(b"", (), id="a query without a result"),
    ],
)
def test_athena_manifests(data: bytes, expected: tuple[tuple[str, str], ...]) -> None:
    assert athena(data) == Manifest(expected)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"s3://b/1\nid,name\n", "line 2 must be s3://bucket/key, but is 'id,name'", id="not a URI"),
        pytest.param(b"https://b/1\n", "line 1 must be", id="another scheme"),
        pytest.param(b"s3://b/\n", "line 1 must be", id="a bucket alone"),
        pytest.param(b"s3:///k\n", "line 1 must be", id="no bucket"),
        pytest.param(b"\n\n{}\n", "line 3 must be", id="JSON"),
        pytest.param(b"s3://b/\xff\n", "line 1 must be", id="not UTF-8"),
        pytest.param(b"x" * 100_000, "but is 'x{200}'", id="a long line is cut in the message"),
    ],
)
def test_what_athena_does_not_write(data: bytes, told: str) -> None:
    with pytest.raises(RunFailed, match=told) as caught:
        athena(data)
    assert caught.value.failure.error == StatesError.ITEM_READER_FAILED


@given(st.sampled_from(ManifestType), st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_an_error_of_the_dataset(kind: ManifestType, data: bytes) -> None:
    with suppress(RunFailed):
        assert all(bucket and key for bucket, key in manifests.files(data, "k", kind).files)
