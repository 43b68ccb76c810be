"""The MapRun resource as frozen values: the one source of the CRD, of its documentation, and of parsing.

Rule 1: a field is here only if code makes it work. Everything else is refused.
Rule 2: each field's description says default, unit and bound in a sentence; `make generate` copies it into the CRD.
Rule 3: values that Kubernetes may give as int or string (no floats in its API) are parsed once, by the properties here.
Rule 4: what joins several fields is a rule of `core/validation.py`, which the CRD carries as CEL.

Field names are ASL's in camelCase; enum values are ASL's own (design §2).
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from maprun.fields import (
    ANY_JSON,
    JOB_TEMPLATE,
    Bucket,
    DecimalString,
    Endpoint,
    ErrorName,
    Key,
    Label,
    Pointer,
    Prefix,
    ReferencePath,
    Region,
    SecretName,
    doc,
)

GROUP: Final = "maprun.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "MapRun"
PLURAL: Final = "mapruns"

MAX_CONCURRENCY: Final = 10_000  # AWS's hard ceiling of children at once, §3.1
MAX_ITEMS: Final = 100_000_000  # §1.2
MAX_SECONDS: Final = 99_999_999  # §5.6
PAYLOAD_LIMIT: Final = 256 * 1024  # bytes of one child's input or output, and of an inline result, §8
MAX_NAME: Final = 40  # of a MapRun, so that <name>-<child>-<attempt> (9 and 8 digits) fits the 63 of a label value

MUTABLE: Final = frozenset({"maxConcurrency", "toleratedFailurePercentage", "toleratedFailureCount"})
"""Fields of the spec that may change while the run is running (AWS's UpdateMapRun, §6.2)."""


class Model(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of every value in the spec. (Subclasses repeat `frozen`: mypy does not inherit it.)"""


class ReaderResource(StrEnum):
    """What an item reader calls."""

    GET_OBJECT = "s3:getObject"
    LIST_OBJECTS = "s3:listObjectsV2"
    GET_OBJECT_ARN = "arn:aws:states:::s3:getObject"
    LIST_OBJECTS_ARN = "arn:aws:states:::s3:listObjectsV2"

    @property
    def lists(self) -> bool:
        """True for a listing, False for the contents of one object."""
        return self in (ReaderResource.LIST_OBJECTS, ReaderResource.LIST_OBJECTS_ARN)


class WriterResource(StrEnum):
    """What a result writer calls."""

    PUT_OBJECT = "s3:putObject"
    PUT_OBJECT_ARN = "arn:aws:states:::s3:putObject"


class InputType(StrEnum):
    """Format of a dataset in one object."""

    JSON = "JSON"


class Transformation(StrEnum):
    """What becomes of a child's record on its way into a result file."""

    NONE = "NONE"


class OutputType(StrEnum):
    """Format of the result files."""

    JSON = "JSON"


class Mode(StrEnum):
    """Where children run."""

    DISTRIBUTED = "DISTRIBUTED"


class ExecutionType(StrEnum):
    """What a child execution is."""

    STANDARD = "STANDARD"


class JitterStrategy(StrEnum):
    """Whether waits between attempts are random."""

    FULL = "FULL"
    NONE = "NONE"


class OutputFrom(StrEnum):
    """Where a child leaves its output (design §3); Kubernetes's words, so in its case."""

    TERMINATION_MESSAGE = "TerminationMessage"
    LOGS = "Logs"


Concurrency = Annotated[int, Meta(ge=0, le=MAX_CONCURRENCY)]
Seconds = Annotated[int, Meta(ge=1, le=MAX_SECONDS)]
Delay = Annotated[int, Meta(ge=1, le=31_622_400)]
Attempts = Annotated[int, Meta(ge=0, le=MAX_SECONDS)]
Items = Annotated[int, Meta(ge=0, le=MAX_ITEMS)]
Percentage = Annotated[int, Meta(ge=0, le=100)] | DecimalString
Rate = Annotated[int, Meta(ge=1, le=MAX_SECONDS)] | DecimalString


class ReaderParameters(Model, frozen=True):
    """Arguments of the reader's call."""

    bucket: Annotated[Bucket, doc("Bucket that holds the dataset.")]
    key: Annotated[
        Key | None, doc("Key of the object to read. Required with s3:getObject, refused with s3:listObjectsV2.")
    ] = None
    prefix: Annotated[
        Prefix | None,
        doc(
            "List only keys that begin with this string (a plain prefix, not a folder). Default: all keys.",
            "Only with s3:listObjectsV2. At most 1,024 characters.",
        ),
    ] = None


class ReaderConfig(Model, frozen=True):
    """How a dataset is read."""

    input_type: Annotated[
        InputType | None,
        doc(
            "Format of the object. Required with s3:getObject, refused with s3:listObjectsV2.",
            "JSON: an array, one item for each element; or an object, one item for each key.",
        ),
    ] = None
    items_pointer: Annotated[
        Pointer | None,
        doc(
            "JSON Pointer (RFC 6901) to the array or object inside the file. Default: the whole document.",
            "Only with inputType JSON. At most 1,999 characters; the target begins within the first 16 MB.",
        ),
    ] = None
    max_items: Annotated[Items, doc("Read at most this many items. Default 0: no limit. At most 100,000,000.")] = 0


class ItemReader(Model, frozen=True):
    """Where items come from, when not from the input."""

    resource: Annotated[
        ReaderResource,
        doc(
            "s3:getObject reads the items inside one object; s3:listObjectsV2 makes one item of each object listed,",
            "on all pages. The arn:aws:states::: forms mean the same.",
        ),
    ]
    parameters: Annotated[ReaderParameters, doc("Where the dataset lies.")]
    reader_config: Annotated[ReaderConfig, doc("How the dataset is read.")] = ReaderConfig()


class ProcessorConfig(Model, frozen=True):
    """How children run."""

    mode: Annotated[Mode, doc("DISTRIBUTED, the only mode: each child is an execution of its own.")] = Mode.DISTRIBUTED
    execution_type: Annotated[ExecutionType, doc("STANDARD, the only type: one Job for each child execution.")] = (
        ExecutionType.STANDARD
    )


class Output(Model, frozen=True):
    """Where a child's output comes from."""

    from_: Annotated[
        OutputFrom,
        doc(
            "TerminationMessage (default): the file $MAPRUN_OUTPUT, at most 4,096 bytes.",
            "Logs: the last line of the container's log, standard error included, at most 262,144 bytes.",
        ),
    ] = msgspec.field(name="from", default=OutputFrom.TERMINATION_MESSAGE)


class Retrier(Model, frozen=True):
    """Which errors are retried, how often and when."""  # §5.6

    error_equals: Annotated[
        list[ErrorName],
        Meta(min_length=1, max_length=32),
        doc(
            "Error names that this retrier handles. States.ALL matches every error and stands alone, in the last",
            "retrier; States.TaskFailed matches every error but States.Timeout. 1 to 32 names.",
        ),
    ]
    interval_seconds: Annotated[Seconds, doc("Seconds before the first retry. Default 1; 1 to 99,999,999.")] = 1
    max_attempts: Annotated[
        Attempts, doc("How many times this retrier may retry; 0 never retries. Default 3; at most 99,999,999.")
    ] = 3
    backoff_rate: Annotated[
        Rate,
        doc(
            "Factor by which the interval grows with each retry, 1 or more.",
            'An integer or a decimal string with at most 6 places. Default "2".',
        ),
    ] = "2"
    max_delay_seconds: Annotated[
        Delay | None, doc("Longest wait before a retry, in seconds. Default: no bound; 1 to 31,622,400.")
    ] = None
    jitter_strategy: Annotated[
        JitterStrategy, doc("FULL: wait a random time between 0 and the interval. NONE (default): wait the interval.")
    ] = JitterStrategy.NONE

    @property
    def backoff(self) -> Fraction:
        """`backoffRate` as an exact number."""
        return Fraction(str(self.backoff_rate))


class ItemProcessor(Model, frozen=True, kw_only=True):
    """What a child execution is."""

    processor_config: Annotated[ProcessorConfig, doc("How children run.")] = ProcessorConfig()
    job_template: Annotated[
        dict[str, Any],
        Meta(extra_json_schema=JOB_TEMPLATE),
        doc(
            "A batch/v1 JobTemplateSpec. One Job is made of it for each attempt of a child. Its first container gets",
            "MAPRUN_INPUT and MAPRUN_OUTPUT; backoffLimit, completions, parallelism and restartPolicy are set by",
            "MapRun.",
        ),
    ]
    output: Annotated[Output, doc("Where a child's output comes from.")] = Output()
    retry: Annotated[
        list[Retrier],
        Meta(max_length=32),
        doc("Retriers, tried in order; the first that matches the error decides. Default: no retry. At most 32."),
    ] = []
    timeout_seconds: Annotated[
        Seconds | None,
        doc(
            "Longest time of one attempt, in seconds; then it ends with States.Timeout.",
            "Default: no limit; 1 to 99,999,999.",
        ),
    ] = None


class WriterParameters(Model, frozen=True):
    """Arguments of the writer's call."""

    bucket: Annotated[Bucket, doc("Bucket for the result files.")]
    prefix: Annotated[
        Prefix,
        doc(
            "Folder for the result files; a / is added behind it. Default: none, the files lie in a folder named by",
            "the run's uid. At most 1,024 characters.",
        ),
    ] = ""


class WriterConfig(Model, frozen=True):
    """Form of the result files."""

    transformation: Annotated[
        Transformation, doc("NONE, the only transformation: one record with metadata for each child.")
    ] = Transformation.NONE
    output_type: Annotated[OutputType, doc("JSON, the only format: each file is one array.")] = OutputType.JSON


class ResultWriter(Model, frozen=True):
    """Where results go, when not into the status."""

    resource: Annotated[WriterResource, doc("s3:putObject; the arn:aws:states::: form means the same.")]
    parameters: Annotated[WriterParameters, doc("Where the result files go.")]
    writer_config: Annotated[WriterConfig, doc("Form of the result files.")] = WriterConfig()


class SecretRef(Model, frozen=True):
    """A Secret of the run's namespace."""

    name: Annotated[SecretName, doc("Name of a Secret in the run's own namespace.")]


class S3(Model, frozen=True):
    """How to reach the buckets of one run."""

    endpoint: Annotated[
        Endpoint | None,
        doc("URL of the S3 server. Default: the operator's own, or AWS. Needs credentialsSecretRef."),
    ] = None
    region: Annotated[Region | None, doc("Region of the buckets. Default: the operator's own.")] = None
    credentials_secret_ref: Annotated[
        SecretRef | None,
        doc(
            "Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if needed, AWS_SESSION_TOKEN.",
            "Default: the operator's own credentials, where it shares them.",
        ),
    ] = None


class MapRunSpec(Model, frozen=True, kw_only=True):
    """What to run. Immutable but for maxConcurrency and the two tolerances."""

    input: Annotated[
        Any,
        Meta(extra_json_schema={**ANY_JSON, "nullable": True}),
        doc(
            "The state's input: any JSON. Items come from it when there is no itemReader, and itemSelector reads it",
            "as $. Default {}. A later change has no effect.",
        ),
    ] = msgspec.field(default_factory=dict)
    item_reader: Annotated[
        ItemReader | None, doc("Reads the items from S3. Default: the items come from the input.")
    ] = None
    items_path: Annotated[
        ReferencePath,
        doc(
            "Reference path to the array or object of items in the input. Default $.",
            "Ignored when there is an itemReader, as in AWS.",
        ),
    ] = "$"
    item_selector: Annotated[
        dict[str, Any] | None,
        Meta(extra_json_schema=ANY_JSON),
        doc(
            "Payload template whose result replaces each item: keys that end in .$ hold a JSONPath into the input ($)",
            "or the context object ($$). Default: the item itself.",
        ),
    ] = None
    max_concurrency: Annotated[
        Concurrency,
        doc(
            "Most child executions at once. Default 0: the operator's own ceiling. At most 10,000.",
            "May be changed while running; lowering it lets running children finish.",
        ),
    ] = 0
    tolerated_failure_percentage: Annotated[
        Percentage | None,
        doc(
            "The run fails when more than this percentage of the items failed. An integer or a decimal string with at",
            "most 6 places, from 0 to 100. Default: not applied; with neither tolerance set, the first failure fails",
            "the run. May be changed while running.",
        ),
    ] = None
    tolerated_failure_count: Annotated[
        Items | None,
        doc(
            "The run fails when more than this many items failed. Default: not applied. At most 100,000,000.",
            "May be changed while running.",
        ),
    ] = None
    label: Annotated[
        Label | None,
        doc(
            "Names the run in ARNs. Default: derived from the run's name.",
            "At most 40 characters, without whitespace, wildcards, brackets and special characters.",
        ),
    ] = None
    item_processor: Annotated[ItemProcessor, doc("What runs for each item.")]
    result_writer: Annotated[
        ResultWriter | None,
        doc("Writes the results to S3. Default: the outputs go into status.output, in item order."),
    ] = None
    s3: Annotated[S3, doc("How to reach the buckets.")] = S3()

    @property
    def percentage(self) -> Fraction | None:
        """`toleratedFailurePercentage` as an exact number, None when unset."""
        return None if self.tolerated_failure_percentage is None else Fraction(str(self.tolerated_failure_percentage))


class RunRef(msgspec.Struct, frozen=True):
    """Which resource a run belongs to. `created` is the time of the resource's creation, in seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    created: float
