"""The part of the spec that says where items come from: `itemReader`.

Rules 1 to 3 of `maprun.model` hold.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from maprun.fields import (
    UNRESOLVED,
    AccountId,
    Argument,
    Bucket,
    Expression,
    Header,
    Items,
    Key,
    Model,
    Pointer,
    Prefix,
    ReferencePath,
    SecretName,
    TemplatePath,
    VersionId,
    doc,
)

MAX_HEADER_BYTES: Final = 10 * 1024  # of all CSV headers together, §1.2


class ReaderResource(StrEnum):
    """What an item reader calls. The last two are MapRun's own: a key of an object in the run's namespace."""

    GET_OBJECT = "s3:getObject"
    LIST_OBJECTS = "s3:listObjectsV2"
    GET_OBJECT_ARN = "arn:aws:states:::s3:getObject"
    LIST_OBJECTS_ARN = "arn:aws:states:::s3:listObjectsV2"
    CONFIG_MAP = "configmap"
    SECRET = "secret"

    @property
    def lists(self) -> bool:
        """True for a listing, False for the contents of one object."""
        return self in (ReaderResource.LIST_OBJECTS, ReaderResource.LIST_OBJECTS_ARN)

    @property
    def local(self) -> bool:
        """True for a key of a ConfigMap or Secret in the run's namespace."""
        return self in (ReaderResource.CONFIG_MAP, ReaderResource.SECRET)


class InputType(StrEnum):
    """Format of a dataset. MANIFEST is the older spelling of the manifest type S3_INVENTORY."""

    CSV = "CSV"
    JSON = "JSON"
    JSONL = "JSONL"
    PARQUET = "PARQUET"
    MANIFEST = "MANIFEST"


class ReaderTransformation(StrEnum):
    """What becomes of the objects of a listing."""

    NONE = "NONE"
    LOAD_AND_FLATTEN = "LOAD_AND_FLATTEN"


class ManifestType(StrEnum):
    """What lists the files of a dataset."""

    S3_INVENTORY = "S3_INVENTORY"
    ATHENA_DATA = "ATHENA_DATA"


class CsvHeaderLocation(StrEnum):
    """Where the headers of a CSV dataset are."""

    FIRST_ROW = "FIRST_ROW"
    GIVEN = "GIVEN"


class CsvDelimiter(StrEnum):
    """What stands between the cells of a CSV row."""

    COMMA = "COMMA"
    PIPE = "PIPE"
    SEMICOLON = "SEMICOLON"
    SPACE = "SPACE"
    TAB = "TAB"


Headers = Annotated[list[Header], Meta(min_length=1, max_length=2_000)]


class ReaderParameters(Model, frozen=True):
    """Arguments of the reader's call, as literals or (`name.$`) as JSONPath or intrinsic function; of each pair one."""

    bucket: Annotated[Bucket | None, doc("Bucket that holds the dataset. Required with the s3: resources.")] = None
    bucket_path: Annotated[
        TemplatePath | None, doc("JSONPath or intrinsic function that gives the bucket, in place of bucket.")
    ] = msgspec.field(name="bucket.$", default=None)
    key: Annotated[
        Key | None,
        doc(
            "Key of the object to read, or of the value in the ConfigMap or Secret.",
            "Required, but refused with s3:listObjectsV2.",
        ),
    ] = None
    key_path: Annotated[
        TemplatePath | None, doc("JSONPath or intrinsic function that gives the key, in place of key.")
    ] = msgspec.field(name="key.$", default=None)
    prefix: Annotated[
        Prefix | None,
        doc(
            "List only keys that begin with this string (a plain prefix, not a folder). Default: all keys.",
            "Only with s3:listObjectsV2. At most 1,024 characters.",
        ),
    ] = None
    prefix_path: Annotated[
        TemplatePath | None, doc("JSONPath or intrinsic function that gives the prefix, in place of prefix.")
    ] = msgspec.field(name="prefix.$", default=None)
    version_id: Annotated[
        VersionId | None,
        doc(
            "Version of the object, in a bucket with versions. Default: the newest.",
            "Only with s3:getObject, and not with inputType PARQUET.",
        ),
    ] = None
    version_id_path: Annotated[
        TemplatePath | None, doc("JSONPath or intrinsic function that gives the version, in place of versionId.")
    ] = msgspec.field(name="versionId.$", default=None)
    expected_bucket_owner: Annotated[
        AccountId | None,
        doc("Account that must own the bucket: 12 digits; else reading fails. Default: any. Only with S3."),
    ] = None
    expected_bucket_owner_path: Annotated[
        TemplatePath | None,
        doc("JSONPath or intrinsic function that gives the account, in place of expectedBucketOwner."),
    ] = msgspec.field(name="expectedBucketOwner.$", default=None)
    name: Annotated[
        SecretName | None,
        doc(
            "Name of the ConfigMap or Secret in the run's own namespace. Only with these resources, and required there."
        ),
    ] = None


class ReaderArguments(Model, frozen=True):
    """Arguments of the reader's call with queryLanguage JSONata: literals, or expressions in {% %}."""

    bucket: Annotated[Argument | None, doc("Bucket that holds the dataset. Required with the s3: resources.")] = None
    key: Annotated[
        Argument | None,
        doc(
            "Key of the object to read, or of the value in the ConfigMap or Secret.",
            "Required, but refused with s3:listObjectsV2.",
        ),
    ] = None
    prefix: Annotated[
        Argument | None,
        doc("List only keys that begin with this string. Default: all keys. Only with s3:listObjectsV2."),
    ] = None
    version_id: Annotated[
        Argument | None,
        doc("Version of the object. Default: the newest. Only with s3:getObject, and not with inputType PARQUET."),
    ] = None
    expected_bucket_owner: Annotated[
        Argument | None, doc("Account that must own the bucket: 12 digits. Default: any. Only with S3.")
    ] = None
    name: Annotated[
        Argument | None, doc("Name of the ConfigMap or Secret in the run's own namespace. Required with these.")
    ] = None


class ReaderConfig(Model, frozen=True):
    """How a dataset is read."""

    input_type: Annotated[
        InputType | None,
        doc(
            "Format of the objects read. Required but for a plain s3:listObjectsV2, where it is refused, and for the",
            "manifest type S3_INVENTORY. CSV: one item for each row, an object of strings by header. JSON: an array,",
            "one item for each element, or an object, one item for each key. JSONL: one item for each line. PARQUET:",
            "one item for each row. MANIFEST: the older spelling of manifestType S3_INVENTORY.",
        ),
    ] = None
    transformation: Annotated[
        ReaderTransformation,
        doc(
            "With s3:listObjectsV2. NONE (default): one item for each object, its metadata. LOAD_AND_FLATTEN: the",
            "items inside all objects listed, in inputType's format.",
        ),
    ] = ReaderTransformation.NONE
    manifest_type: Annotated[
        ManifestType | None,
        doc(
            "The object read is a manifest, and the items are in the files that it lists. S3_INVENTORY: manifest.json",
            "of an S3 inventory in CSV, without inputType. ATHENA_DATA: the manifest of an Athena UNLOAD, with",
            "inputType CSV, JSONL or PARQUET. Only with s3:getObject.",
        ),
    ] = None
    csv_header_location: Annotated[
        CsvHeaderLocation | None,
        doc(
            "Where the headers of CSV data are: FIRST_ROW of each object, or GIVEN in csvHeaders.",
            "Required with inputType CSV.",
        ),
    ] = None
    csv_headers: Annotated[
        Headers | None,
        doc(
            "Headers of CSV data, without duplicates. Required with csvHeaderLocation GIVEN, else ignored.",
            "At most 10,240 bytes together.",
        ),
    ] = None
    csv_delimiter: Annotated[
        CsvDelimiter, doc("What stands between the cells of CSV data. Default COMMA. With inputType CSV or MANIFEST.")
    ] = CsvDelimiter.COMMA
    items_pointer: Annotated[
        Pointer | None,
        doc(
            "JSON Pointer (RFC 6901) to the array or object inside the file. Default: the whole document.",
            "Only with inputType JSON. At most 1,999 characters; the target begins within the first 16 MB.",
        ),
    ] = None
    max_items: Annotated[
        Items | Expression,
        doc("Read at most this many items, or a JSONata expression for it. Default 0: no limit. At most 100,000,000."),
    ] = 0
    max_items_path: Annotated[
        ReferencePath | None, doc("Reference path to the number, in place of maxItems. Only with JSONPath.")
    ] = None

    @property
    def limit(self) -> int:
        """`maxItems` of a resolved spec (`core/resolving.py`); 0: no limit."""
        assert isinstance(self.max_items, int), UNRESOLVED
        return self.max_items


class ItemReader(Model, frozen=True):
    """Where items come from, when not from the input."""

    resource: Annotated[
        ReaderResource,
        doc(
            "s3:getObject reads the items inside one object; s3:listObjectsV2 makes one item of each object listed,",
            "on all pages. The arn:aws:states::: forms mean the same. configmap and secret read the items inside one",
            "key of a ConfigMap or Secret of the run's own namespace.",
        ),
    ]
    parameters: Annotated[
        ReaderParameters | None, doc("Where the dataset lies. Required with JSONPath, refused with JSONata.")
    ] = None
    arguments: Annotated[
        ReaderArguments | None, doc("Where the dataset lies. Required with JSONata, refused with JSONPath.")
    ] = None
    reader_config: Annotated[ReaderConfig, doc("How the dataset is read.")] = ReaderConfig()

    @property
    def call(self) -> ReaderParameters:
        """The arguments of a resolved spec (`core/resolving.py`): literals."""
        assert self.parameters is not None, UNRESOLVED
        return self.parameters

    @property
    def bucket(self) -> str:
        """The bucket of a resolved spec; "" with a ConfigMap or Secret."""
        return self.call.bucket or ""

    @property
    def key(self) -> str:
        """The key of a resolved spec; "" with a listing."""
        return self.call.key or ""

    @property
    def prefix(self) -> str:
        """The prefix of a resolved spec; "" for all keys."""
        return self.call.prefix or ""
