"""The rules of `itemReader` and `itemBatcher` (`aws-distributed-map.md` §1.2, §2.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from maprun.core.rule import Rule, twin, value_at
from maprun.fields import Model
from maprun.model_processing import ItemBatcher
from maprun.model_reading import (
    MAX_HEADER_BYTES,
    CsvHeaderLocation,
    InputType,
    ItemReader,
    ManifestType,
    ReaderConfig,
    ReaderParameters,
    ReaderTransformation,
)

_LISTS: Final = "self.resource.endsWith('s3:listObjectsV2')"
_GETS: Final = "self.resource.endsWith('s3:getObject')"
_LOCAL: Final = "self.resource in ['configmap', 'secret']"
_FLATTENS: Final = "self.readerConfig.transformation == 'LOAD_AND_FLATTEN'"
_TYPE: Final = "self.readerConfig.inputType"
_MANIFEST: Final = "self.readerConfig.manifestType"

Judge = Callable[[ItemReader], bool]


def _gets(reader: ItemReader) -> bool:
    return not (reader.resource.lists or reader.resource.local)


def _contents(reader: ItemReader) -> bool:
    """True when items are inside objects, not objects themselves."""
    return not reader.resource.lists or reader.reader_config.transformation is ReaderTransformation.LOAD_AND_FLATTEN


def _inventory(reader: ItemReader) -> bool:
    return reader.reader_config.manifest_type is ManifestType.S3_INVENTORY


def _fits_manifest(reader: ItemReader) -> bool:
    """True when inputType goes with manifestType."""
    kind = reader.reader_config.input_type
    if reader.reader_config.manifest_type is ManifestType.ATHENA_DATA:
        return kind in (None, InputType.CSV, InputType.JSONL, InputType.PARQUET)
    return not _inventory(reader) or kind in (None, InputType.MANIFEST)


def _versions(reader: ItemReader) -> bool:
    """True when a version can be asked for."""
    return _gets(reader) and reader.reader_config.input_type is not InputType.PARQUET


def _arguments(form: str) -> Iterator[Rule[ItemReader]]:
    """The rules of the call's arguments, which `form` holds: parameters or arguments. Only the first of them may have
    a path in place of a literal, which CEL cannot see, so that what is required there is for Python alone.
    """
    seen = form == "arguments"

    def rule(field: str, message: str, wanted: Judge, wants: str, present: bool) -> Rule[ItemReader]:
        """`field` must be `present` where it is `wanted`."""
        has = f"has(self.{form}.{field})"
        return Rule[ItemReader](
            f"{form}.{field}",
            message,
            lambda reader: (
                value_at(reader, form) is None or not wanted(reader) or _given(value_at(reader, form), field) == present
            ),
            f"!has(self.{form}) || !({wants}) || {has if present else f'!{has}'}" if seen or not present else "",
        )

    def s3(reader: ItemReader) -> bool:
        return not reader.resource.local

    def local(reader: ItemReader) -> bool:
        return reader.resource.local

    def lists(reader: ItemReader) -> bool:
        return reader.resource.lists

    def one(reader: ItemReader) -> bool:
        return not reader.resource.lists

    named = "must be left out with configmap and secret, which are named by name"
    yield rule("bucket", "is required with an S3 resource", s3, f"!({_LOCAL})", True)
    yield rule("bucket", named, local, _LOCAL, False)
    yield rule("expectedBucketOwner", "must be left out with configmap and secret", local, _LOCAL, False)
    yield Rule[ItemReader](
        f"{form}.name",
        "is required with configmap and secret, and must be left out with an S3 resource",
        lambda reader: value_at(reader, form) is None or local(reader) == _given(value_at(reader, form), "name"),
        f"!has(self.{form}) || ({_LOCAL}) == has(self.{form}.name)",
    )
    required = "is required: the key of the object, or of the value in the ConfigMap or Secret"
    yield rule("key", required, one, f"!{_LISTS}", True)
    yield rule(
        "key", "must be left out with s3:listObjectsV2; use prefix to choose among the keys", lists, _LISTS, False
    )
    yield rule(
        "prefix", "must be left out but with s3:listObjectsV2: the others read one key", one, f"!{_LISTS}", False
    )
    yield rule(
        "versionId",
        "must be left out but with s3:getObject, and with inputType PARQUET",
        lambda reader: not _versions(reader),
        f"!{_GETS} || (has({_TYPE}) && {_TYPE} == 'PARQUET')",
        False,
    )


def _given(form: Any, field: str) -> bool:
    """True when an argument is there, as a literal or as a path to it."""
    paths = (f"{field}Path",) if isinstance(form, ReaderParameters) and field != "name" else ()
    return any(value_at(form, name) is not None for name in (field, *paths))


_ITEM_READER: Final = (
    *_arguments("parameters"),
    *_arguments("arguments"),
    Rule[ItemReader](
        "readerConfig.inputType",
        "is required: the format of what is read",
        lambda reader: not _contents(reader) or reader.reader_config.input_type is not None or _inventory(reader),
        f"({_LISTS} && !({_FLATTENS})) || has({_TYPE}) || (has({_MANIFEST}) && {_MANIFEST} == 'S3_INVENTORY')",
    ),
    Rule[ItemReader](
        "readerConfig.inputType",
        "must be left out with a plain s3:listObjectsV2, whose items are the objects themselves",
        lambda reader: _contents(reader) or reader.reader_config.input_type is None,
        f"!{_LISTS} || {_FLATTENS} || !has({_TYPE})",
    ),
    Rule[ItemReader](
        "readerConfig.inputType",
        "must be CSV, JSON, JSONL or PARQUET but with s3:getObject: a manifest is one object of a bucket",
        lambda reader: (
            _gets(reader) or not _contents(reader) or reader.reader_config.input_type is not InputType.MANIFEST
        ),
        f"{_GETS} || ({_LISTS} && !({_FLATTENS})) || !has({_TYPE}) || {_TYPE} != 'MANIFEST'",
    ),
    Rule[ItemReader](
        "readerConfig.inputType",
        "must be left out with the manifest type S3_INVENTORY, and be CSV, JSONL or PARQUET with ATHENA_DATA",
        _fits_manifest,
        f"!has({_MANIFEST}) || !has({_TYPE}) || ({_MANIFEST} == 'S3_INVENTORY' && {_TYPE} == 'MANIFEST')"
        f" || ({_MANIFEST} == 'ATHENA_DATA' && {_TYPE} in ['CSV', 'JSONL', 'PARQUET'])",
    ),
    Rule[ItemReader](
        "readerConfig.itemsPointer",
        "must be left out but with inputType JSON: it points into a JSON document",
        lambda reader: reader.reader_config.items_pointer is None or reader.reader_config.input_type is InputType.JSON,
        f"!has(self.readerConfig.itemsPointer) || (has({_TYPE}) && {_TYPE} == 'JSON')",
    ),
    Rule[ItemReader](
        "readerConfig.transformation",
        "must be NONE but with s3:listObjectsV2",
        lambda reader: reader.resource.lists or reader.reader_config.transformation is ReaderTransformation.NONE,
        f"{_LISTS} || !({_FLATTENS})",
    ),
    Rule[ItemReader](
        "readerConfig.manifestType",
        "must be left out but with s3:getObject: a manifest is one object of a bucket",
        lambda reader: reader.reader_config.manifest_type is None or _gets(reader),
        f"!has({_MANIFEST}) || {_GETS}",
    ),
)

_READER_CONFIG: Final = (
    twin("maxItems", 0),
    Rule[ReaderConfig](
        "csvHeaderLocation",
        "is required with inputType CSV: FIRST_ROW or GIVEN",
        lambda config: config.input_type is not InputType.CSV or config.csv_header_location is not None,
        "!has(self.inputType) || self.inputType != 'CSV' || has(self.csvHeaderLocation)",
    ),
    Rule[ReaderConfig](
        "csvHeaders",
        "is required with csvHeaderLocation GIVEN",
        lambda config: config.csv_header_location is not CsvHeaderLocation.GIVEN or config.csv_headers is not None,
        "!has(self.csvHeaderLocation) || self.csvHeaderLocation != 'GIVEN' || has(self.csvHeaders)",
    ),
    Rule[ReaderConfig](
        "csvHeaders",
        f"must hold at most {MAX_HEADER_BYTES:,} bytes together",  # CEL counts characters
        lambda config: sum(len(header.encode()) for header in config.csv_headers or ()) <= MAX_HEADER_BYTES,
    ),
)

_ITEM_BATCHER: Final = (
    Rule[ItemBatcher](
        "maxItemsPerBatch",
        "is required, or maxInputBytesPerBatch, or the path to one of the two",
        lambda batcher: any(
            each is not None
            for each in (
                batcher.max_items_per_batch,
                batcher.max_items_per_batch_path,
                batcher.max_input_bytes_per_batch,
                batcher.max_input_bytes_per_batch_path,
            )
        ),
        "has(self.maxItemsPerBatch) || has(self.maxItemsPerBatchPath) || has(self.maxInputBytesPerBatch)"
        " || has(self.maxInputBytesPerBatchPath)",
    ),
    twin("maxItemsPerBatch"),
    twin("maxInputBytesPerBatch"),
)

READER_RULES: Final[dict[type[Model], tuple[Rule[Any], ...]]] = {
    ItemReader: _ITEM_READER,
    ReaderConfig: _READER_CONFIG,
    ItemBatcher: _ITEM_BATCHER,
}
"""What must hold of the reader, of its parts, and of the batcher."""
