"""The part of the spec that says where results go: `resultWriter`.

Rules 1 to 3 of `maprun.model` hold.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from maprun.fields import UNRESOLVED, Argument, Bucket, Model, Prefix, TemplatePath, doc

MAX_FILE_BYTES: Final = 5 * 1000**3  # a result file that has reached it is followed by another one, §5.2


class WriterResource(StrEnum):
    """What a result writer calls."""

    PUT_OBJECT = "s3:putObject"
    PUT_OBJECT_ARN = "arn:aws:states:::s3:putObject"


class Transformation(StrEnum):
    """What becomes of a child's record on its way into a result file."""

    NONE = "NONE"
    COMPACT = "COMPACT"
    FLATTEN = "FLATTEN"


class OutputType(StrEnum):
    """Format of the result files. PARQUET is MapRun's own."""

    JSON = "JSON"
    JSONL = "JSONL"
    PARQUET = "PARQUET"


FileBytes = Annotated[int, Meta(ge=1, le=MAX_FILE_BYTES)]


class WriterParameters(Model, frozen=True):
    """Arguments of the writer's call, as literals or (`name.$`) as JSONPath or intrinsic function; of each pair one."""

    bucket: Annotated[Bucket | None, doc("Bucket for the result files. Required.")] = None
    bucket_path: Annotated[
        TemplatePath | None, doc("JSONPath or intrinsic function that gives the bucket, in place of bucket.")
    ] = msgspec.field(name="bucket.$", default=None)
    prefix: Annotated[
        Prefix,
        doc(
            "Folder for the result files; a / is added behind it. Default: none, the files lie in a folder named by",
            "the run's uid. At most 1,024 characters.",
        ),
    ] = ""
    prefix_path: Annotated[
        TemplatePath | None, doc("JSONPath or intrinsic function that gives the prefix, in place of prefix.")
    ] = msgspec.field(name="prefix.$", default=None)


class WriterArguments(Model, frozen=True):
    """Arguments of the writer's call with queryLanguage JSONata: literals, or expressions in {% %}."""

    bucket: Annotated[Argument | None, doc("Bucket for the result files. Required.")] = None
    prefix: Annotated[Argument, doc("Folder for the result files; a / is added behind it. Default: none.")] = ""


class WriterConfig(Model, frozen=True):
    """Form of the results."""

    transformation: Annotated[
        Transformation | None,
        doc(
            "NONE: one record with metadata for each child. COMPACT: the children's outputs. FLATTEN: the same, with",
            "the elements of outputs that are arrays. Default: NONE with a resource, COMPACT without.",
        ),
    ] = None
    output_type: Annotated[
        OutputType,
        doc(
            "JSON (default): each file is one array. JSONL: one record a line. PARQUET: one row for each output, only",
            "with COMPACT and a resource.",
        ),
    ] = OutputType.JSON
    max_bytes_per_file: Annotated[
        FileBytes, doc("A result file that has reached this size is followed by another one. Default 5,000,000,000.")
    ] = MAX_FILE_BYTES


class ResultWriter(Model, frozen=True):
    """Where results go and how they look. Without a resource, writerConfig alone shapes the output of the run."""

    resource: Annotated[
        WriterResource | None,
        doc("s3:putObject; the arn:aws:states::: form means the same. Default: nothing is exported."),
    ] = None
    parameters: Annotated[
        WriterParameters | None, doc("Where the result files go. Required with a resource and JSONPath.")
    ] = None
    arguments: Annotated[
        WriterArguments | None, doc("Where the result files go. Required with a resource and JSONata.")
    ] = None
    writer_config: Annotated[WriterConfig, doc("Form of the results.")] = WriterConfig()

    @property
    def call(self) -> WriterParameters:
        """The arguments of a resolved spec (`core/resolving.py`) with a resource: literals."""
        assert self.parameters is not None, UNRESOLVED
        return self.parameters

    @property
    def bucket(self) -> str:
        """The bucket of a resolved spec with a resource."""
        return self.call.bucket or ""

    @property
    def prefix(self) -> str:
        """The prefix of a resolved spec with a resource; "" for none."""
        return self.call.prefix
