"""The MapRun resource as frozen values: the one source of the CRD, of its documentation, and of parsing.

Rule 1: a field is here only if code makes it work. Everything else is refused.
Rule 2: each field's description says default, unit and bound in a sentence; `make generate` copies it into the CRD.
Rule 3: values that Kubernetes may give as int or string (no floats in its API) are parsed once, by the properties here.
Rule 4: what joins several fields is a rule of `core/rules.py`, which the CRD carries as CEL.

Field names are ASL's in camelCase; enum values are ASL's own (design §2). What reads, processes and writes items has
its own modules: model_reading.py, model_processing.py, model_writing.py.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from maprun.fields import (
    ANY_JSON,
    UNRESOLVED,
    ChildIndexes,
    Endpoint,
    ErrorNames,
    Expression,
    Items,
    Label,
    Model,
    Percentage,
    ReferencePath,
    Region,
    SecretName,
    doc,
)
from maprun.model_processing import ItemBatcher, ItemProcessor
from maprun.model_reading import ItemReader
from maprun.model_writing import ResultWriter

GROUP: Final = "maprun.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "MapRun"
PLURAL: Final = "mapruns"
MAX_CONCURRENCY: Final = 10_000  # AWS's hard ceiling of children at once, §3.1
MAX_NAME: Final = 40  # of a MapRun, so that <name>-<child>-<attempt> (9 and 8 digits) fits the 63 of a label value
MAX_REDRIVES: Final = 1_000  # §6.6
MAX_RUN_SECONDS: Final = 99_999_999
LIVE: Final = frozenset(
    {"maxConcurrency", "toleratedFailurePercentage", "toleratedFailureCount", "timeoutSeconds", "suspend"}
)
"""Fields that may change while the run goes on (AWS's UpdateMapRun, §6.2, and Kubernetes' suspend)."""
MUTABLE: Final = LIVE | {"abort", "redrives", "redriveFilter", "ttlSecondsAfterFinished"}
"""Fields of the spec that may ever change."""


class QueryLanguage(StrEnum):
    """The language of paths and expressions in a spec."""

    JSONPATH = "JSONPath"
    JSONATA = "JSONata"


Concurrency = Annotated[int, Meta(ge=0, le=MAX_CONCURRENCY)]
RunSeconds = Annotated[int, Meta(ge=1, le=MAX_RUN_SECONDS)]
TtlSeconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Redrives = Annotated[int, Meta(ge=0, le=MAX_REDRIVES)]


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
