"""A manifest to the files that it lists: an S3 inventory's manifest.json, or that of an Athena UNLOAD (AWS page §1.3).

Rule 1: what a manifest says of other things (sizes, checksums, the source bucket) is not asked: a file is what it is.
Rule 2: an inventory must be in CSV, as AWS demands. Its `fileSchema` names the columns: its files have no header row.
Rule 3: every error is `States.ItemReaderFailed`, with the field or the line. More than 100,000 files are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec

from maprun.errors import RunFailed, StatesError
from maprun.model_reading import ManifestType

MAX_FILES: Final = 100_000
ARN: Final = re.compile(r"arn:[^:]+:s3:::(.+)")
URI: Final = re.compile(r"s3://([^/]+)/(.+)")
BOM: Final = b"\xef\xbb\xbf"


class Manifest(msgspec.Struct, frozen=True):
    """The files, each as bucket and key, in the manifest's order; and the headers of an inventory, "" of others."""

    files: tuple[tuple[str, str], ...]
    headers: tuple[str, ...] = ()


class _File(msgspec.Struct):
    key: Annotated[str, msgspec.Meta(min_length=1)]


class _Inventory(msgspec.Struct, rename="camel"):
    """What is asked of manifest.json. Fields that others name differently are not guessed at."""

    destination_bucket: Annotated[str, msgspec.Meta(min_length=1)]
    file_format: str
    file_schema: str
    files: list[_File]


def files(data: bytes, key: str, kind: ManifestType) -> Manifest:
    """What the manifest under that key lists. `RunFailed` with `States.ItemReaderFailed`."""
    listed = _inventory(data, key) if kind is ManifestType.S3_INVENTORY else Manifest(tuple(_athena(data)))
    if len(listed.files) > MAX_FILES:
        raise _wrong(kind, f"it lists {len(listed.files):,} files, and at most {MAX_FILES:,} can be read")
    return listed


def _inventory(data: bytes, key: str) -> Manifest:
    kind = ManifestType.S3_INVENTORY
    try:
        told = msgspec.json.decode(data, type=_Inventory)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        advice = "" if key.endswith(".json") else f"; the key {key} must be that of an inventory's manifest.json"
        raise _wrong(kind, f"{error}{advice}") from None
    if told.file_format.upper() != "CSV":
        raise _wrong(kind, f"its fileFormat is {told.file_format[:200]}; only inventories in CSV can be read")
    arn = ARN.fullmatch(told.destination_bucket)
    bucket = arn[1] if arn else told.destination_bucket
    return Manifest(tuple((bucket, file.key) for file in told.files), _headers(told.file_schema))


def _headers(schema: str) -> tuple[str, ...]:
    headers = tuple(column.strip() for column in schema.split(","))
    if not all(headers) or len(set(headers)) < len(headers):
        raise _wrong(ManifestType.S3_INVENTORY, f"its fileSchema must name different columns: {schema[:200]!r}")
    return headers


def _athena(data: bytes) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(data.removeprefix(BOM).splitlines(), 1):
        uri = line.strip().decode(errors="replace")
        quoted = len(uri) > 1 and uri[0] == uri[-1] == '"'
        found = URI.fullmatch(uri[1:-1].replace('""', '"') if quoted else uri)
        if found and "\ufffd" not in uri:
            yield found[1], found[2]
        elif uri:
            raise _wrong(ManifestType.ATHENA_DATA, f"line {number} must be s3://bucket/key, but is {uri[:200]!r}")


def _wrong(kind: ManifestType, what: str) -> RunFailed:
    return RunFailed(
        StatesError.ITEM_READER_FAILED, f"The dataset cannot be read as a manifest of the type {kind.value}: {what}."
    )
