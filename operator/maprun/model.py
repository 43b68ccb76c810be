"""The MapRun resource as frozen values: the one source of the CRD, of its documentation, and of parsing.

Rule 1: a field is here only if code makes it work. Everything else is refused.
Rule 2: each field's description says default, unit and bound in a sentence; `make generate` copies it into the CRD.
Rule 3: values that Kubernetes may give as int or string (no floats in its API) are parsed once, by the properties here.
Rule 4: what joins several fields is a rule of `core/rules.py`, which the CRD carries as CEL.

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
    AccountId,
    Argument,
    Bucket,
    ChildIndexes,
    DecimalOrExpression,
    DecimalString,
    Endpoint,
    ErrorName,
    ErrorNames,
    Expression,
    Header,
    Key,
    Label,
    Pointer,
    Prefix,
    ReferencePath,
    Region,
    SecretName,
    TemplatePath,
    VersionId,
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
MAX_HEADER_BYTES: Final = 10 * 1024  # of all CSV headers together, §1.2
MAX_FILE_BYTES: Final = 5 * 1000**3  # a result file that has reached it is followed by another one, §5.2
MAX_NAME: Final = 40  # of a MapRun, so that <name>-<child>-<attempt> (9 and 8 digits) fits the 63 of a label value

UNRESOLVED: Final = "only a resolved spec has this: see core/resolving.py"

MAX_REDRIVES: Final = 1_000  # §6.6
MAX_RUN_SECONDS: Final = 99_999_999

LIVE: Final = frozenset(
    {"maxConcurrency", "toleratedFailurePercentage", "toleratedFailureCount", "timeoutSeconds", "suspend"}
)
"""Fields that may change while the run goes on (AWS's UpdateMapRun, §6.2, and Kubernetes' suspend)."""
MUTABLE: Final = LIVE | {"abort", "redrives", "redriveFilter", "ttlSecondsAfterFinished"}
"""Fields of the spec that may ever change."""


class Model(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of every value in the spec. (Subclasses repeat `frozen`: mypy does not inherit it.)"""


class QueryLanguage(StrEnum):
    """The language of paths and expressions in a spec."""

    JSONPATH = "JSONPath"
    JSONATA = "JSONata"


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


class WriterResource(StrEnum):
    """What a result writer calls."""

    PUT_OBJECT = "s3:putObject"
    PUT_OBJECT_ARN = "arn:aws:states:::s3:putObject"


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
RunSeconds = Annotated[int, Meta(ge=1, le=MAX_RUN_SECONDS)]
TtlSeconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Redrives = Annotated[int, Meta(ge=0, le=MAX_REDRIVES)]
Attempts = Annotated[int, Meta(ge=0, le=MAX_SECONDS)]
Items = Annotated[int, Meta(ge=0, le=MAX_ITEMS)]
Headers = Annotated[list[Header], Meta(min_length=1, max_length=2_000)]
Batched = Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
BatchBytes = Annotated[int, Meta(ge=1, le=PAYLOAD_LIMIT)]
FileBytes = Annotated[int, Meta(ge=1, le=MAX_FILE_BYTES)]
Percentage = Annotated[int, Meta(ge=0, le=100)] | DecimalOrExpression
Rate = Annotated[int, Meta(ge=1, le=MAX_SECONDS)] | DecimalString


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


class ItemBatcher(Model, frozen=True):
    """How items are put together into the input of one child: {"BatchInput": …, "Items": […]} (§2.4)."""

    max_items_per_batch: Annotated[
        Batched | Expression | None,
        doc("Most items in a batch, or a JSONata expression for it. Default: no limit. 1 to 100,000,000."),
    ] = None
    max_items_per_batch_path: Annotated[
        ReferencePath | None, doc("Reference path to the number, in place of maxItemsPerBatch. Only with JSONPath.")
    ] = None
    max_input_bytes_per_batch: Annotated[
        BatchBytes | Expression | None,
        doc(
            "Most bytes of a child's whole input, or a JSONata expression for it.",
            "Default and at most 262,144. An item that is larger by itself fails the run.",
        ),
    ] = None
    max_input_bytes_per_batch_path: Annotated[
        ReferencePath | None,
        doc("Reference path to the number, in place of maxInputBytesPerBatch. Only with JSONPath."),
    ] = None
    batch_input: Annotated[
        Any,
        Meta(extra_json_schema=ANY_JSON),
        doc("Payload template or JSONata that each batch gets as BatchInput, evaluated once. Default: none."),
    ] = None

    @property
    def most_items(self) -> int | None:
        """`maxItemsPerBatch` of a resolved spec (`core/resolving.py`), None when unset."""
        assert not isinstance(self.max_items_per_batch, str), UNRESOLVED
        return self.max_items_per_batch

    @property
    def most_bytes(self) -> int | None:
        """`maxInputBytesPerBatch` of a resolved spec, None when unset."""
        assert not isinstance(self.max_input_bytes_per_batch, str), UNRESOLVED
        return self.max_input_bytes_per_batch


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


class RedriveFilter(Model, frozen=True):
    """Which children a redrive runs again. Beyond AWS, whose redrives are of whole runs."""

    error_equals: Annotated[
        ErrorNames | None,
        doc(
            "Only children whose last error is one of these names; States.ALL stands for all. Children that never",
            "started have no error and stay pending. Default: not applied. 1 to 32 names.",
        ),
    ] = None
    indexes: Annotated[
        ChildIndexes | None,
        doc(
            "Only children with these numbers, counted from 0, as in MAPRUN_CHILD_INDEX: 0-99,205.",
            "Default: not applied.",
        ),
    ] = None


class MapRunSpec(Model, frozen=True, kw_only=True):
    """What to run. Immutable but for what `MUTABLE` names."""

    input: Annotated[
        Any,
        Meta(extra_json_schema={**ANY_JSON, "nullable": True}),
        doc(
            "The state's input: any JSON. Items come from it when there is no itemReader, and itemSelector reads it",
            "as $. Default {}. A later change has no effect.",
        ),
    ] = msgspec.field(default_factory=dict)
    query_language: Annotated[
        QueryLanguage,
        doc(
            "JSONPath (default): fields that end in .$ or Path hold paths. JSONata: strings in {% %} are expressions,",
            "over $states.input and $states.context.",
        ),
    ] = QueryLanguage.JSONPATH
    input_path: Annotated[
        ReferencePath,
        doc("Path to the part of the input that all other fields see as $. Default $. Only with JSONPath."),
    ] = "$"
    item_reader: Annotated[
        ItemReader | None,
        doc("Reads the items from S3, or from a ConfigMap or Secret. Default: the items come from the input."),
    ] = None
    items_path: Annotated[
        ReferencePath,
        doc(
            "Reference path to the array or object of items in the input. Default $.",
            "Ignored when there is an itemReader, as in AWS. Only with JSONPath.",
        ),
    ] = "$"
    items: Annotated[
        Any,
        Meta(extra_json_schema=ANY_JSON),
        doc(
            "The items: an array, an object, or a JSONata expression that gives one. Default: the input.",
            "Only with JSONata, and refused with an itemReader. A later change has no effect.",
        ),
    ] = None
    item_selector: Annotated[
        Any,
        Meta(extra_json_schema=ANY_JSON),
        doc(
            "Payload template whose result replaces each item: keys that end in .$ hold a JSONPath or an intrinsic",
            "function over the input ($) and the context object ($$). With JSONata: any JSON with expressions.",
            "Default: the item itself. A later change has no effect.",
        ),
    ] = None
    item_batcher: Annotated[
        ItemBatcher | None, doc("Puts several items into the input of one child. Default: each child gets one item.")
    ] = None
    max_concurrency: Annotated[
        Concurrency | Expression,
        doc(
            "Most child executions at once, or a JSONata expression for it. Default 0: the operator's own ceiling.",
            "At most 10,000. May be changed while running; lowering it lets running children finish.",
        ),
    ] = 0
    max_concurrency_path: Annotated[
        ReferencePath | None, doc("Reference path to the number, in place of maxConcurrency. Only with JSONPath.")
    ] = None
    tolerated_failure_percentage: Annotated[
        Percentage | None,
        doc(
            "The run fails when more than this percentage of the items failed. An integer or a decimal string with at",
            "most 6 places, from 0 to 100, or a JSONata expression. Default: not applied; with neither tolerance set,",
            "the first failure fails the run. May be changed while running.",
        ),
    ] = None
    tolerated_failure_percentage_path: Annotated[
        ReferencePath | None,
        doc("Reference path to the number, in place of toleratedFailurePercentage. Only with JSONPath."),
    ] = None
    tolerated_failure_count: Annotated[
        Items | Expression | None,
        doc(
            "The run fails when more than this many items failed, or a JSONata expression for it.",
            "Default: not applied. At most 100,000,000. May be changed while running.",
        ),
    ] = None
    tolerated_failure_count_path: Annotated[
        ReferencePath | None,
        doc("Reference path to the number, in place of toleratedFailureCount. Only with JSONPath."),
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
    result_selector: Annotated[
        dict[str, Any] | None,
        Meta(extra_json_schema=ANY_JSON),
        doc(
            "Payload template over the run's result ($) that replaces it. Default: the result itself.",
            "Only with JSONPath.",
        ),
    ] = None
    result_path: Annotated[
        ReferencePath,
        doc(
            "Where in the input the result is put, to give the run's output. Default $: the result is the output.",
            "Only with JSONPath.",
        ),
    ] = "$"
    output: Annotated[
        Any,
        Meta(extra_json_schema=ANY_JSON),
        doc(
            "The run's output: any JSON with expressions over $states.result. Default: the result. Only with JSONata.",
            "A later change has no effect.",
        ),
    ] = None
    timeout_seconds: Annotated[
        RunSeconds | None,
        doc(
            "Longest time of the whole run, in seconds: then its children are stopped, its results are written, and it",
            "ends as ABORTED with States.Timeout. Time in suspend does not count, a redrive begins anew.",
            "Default: no limit; 1 to 99,999,999. May be changed while running.",
        ),
    ] = None
    suspend: Annotated[
        bool,
        doc(
            "true: no child is started, those that run may end. false (default): the run goes on.",
            "May be changed while running.",
        ),
    ] = False
    abort: Annotated[
        bool,
        doc(
            "true: the run is stopped for good: running children are aborted, the others stay pending, results are",
            "written, and the run ends as ABORTED. Default false. Taken back only together with a redrive.",
        ),
    ] = False
    redrives: Annotated[
        Redrives,
        doc(
            "How many redrives are wanted. Whenever the run has ended and this is more than status.redriveCount, what",
            "did not succeed runs again. Default 0; at most 1,000; may only be raised.",
        ),
    ] = 0
    redrive_filter: Annotated[
        RedriveFilter | None,
        doc("Which children the next redrive runs again. Default: all that did not succeed. May be changed any time."),
    ] = None
    ttl_seconds_after_finished: Annotated[
        TtlSeconds | None,
        doc(
            "Seconds after the end of the run when it is deleted, with its state; result files stay.",
            "Default: it is kept. 0 to 2,147,483,647. May be changed any time.",
        ),
    ] = None
    s3: Annotated[S3, doc("How to reach the buckets.")] = S3()

    @property
    def percentage(self) -> Fraction | None:
        """`toleratedFailurePercentage` as an exact number, None when unset."""
        return None if self.tolerated_failure_percentage is None else Fraction(str(self.tolerated_failure_percentage))

    @property
    def concurrency(self) -> int:
        """`maxConcurrency` of a spec whose paths and expressions are resolved (`core/resolving.py`)."""
        assert isinstance(self.max_concurrency, int), UNRESOLVED
        return self.max_concurrency

    @property
    def failure_count(self) -> int | None:
        """`toleratedFailureCount` of a resolved spec, None when unset."""
        assert not isinstance(self.tolerated_failure_count, str), UNRESOLVED
        return self.tolerated_failure_count


class RunRef(msgspec.Struct, frozen=True):
    """Which resource a run belongs to. `created` is the time of the resource's creation, in seconds since the epoch."""

    namespace: str
    name: str
    uid: str
    created: float
