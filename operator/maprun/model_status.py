"""The status of a MapRun: its schema in the CRD. `core/status.py` fills it.

Rule 1: O(1) in the number of items, at most 10 KB (design §2).
Rule 2: counters carry the AWS names (`aws-distributed-map.md` §6.1), conditions are those of Kubernetes.
Rule 3: what is not known yet is left out, never null.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from maprun.fields import ANY_JSON, Bucket, doc

Time = Annotated[str, Meta(max_length=32, extra_json_schema={"format": "date-time"})]
Number = Annotated[int, Meta(ge=0)]
Location = Annotated[str, Meta(max_length=2048)]
Cause = Annotated[str, Meta(max_length=4096)]  # a child's error and cause come from its termination message
Name = Annotated[str, Meta(max_length=253)]


class ConditionStatus(StrEnum):
    """Value of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Status(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of every value in the status. (Subclasses repeat `frozen`: mypy does not inherit it.)"""


class Condition(Status, frozen=True):
    """One condition, as everywhere in Kubernetes."""

    type: Annotated[
        str,
        Meta(min_length=1, max_length=316),
        doc(
            "Succeeded: Unknown while the run goes on, then True or False; Unknown again while it is redriven.",
            "Suspended: True while the run is held; there once it was.",
        ),
    ]
    status: Annotated[ConditionStatus, doc("True, False or Unknown.")]
    reason: Annotated[
        str,
        Meta(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
        doc("Why, in one word for programs."),
    ]
    message: Annotated[str, Meta(max_length=32768), doc("Why, in a sentence for people.")]
    last_transition_time: Annotated[Time, doc("When the condition's status last changed.")]
    observed_generation: Annotated[
        Number | UnsetType, doc("The generation of the spec that the condition was set for.")
    ] = UNSET


class Counts(Status, frozen=True):
    """AWS's counters, all of them always."""

    pending: Annotated[Number, doc("Not running and not ended; on a run that failed or was aborted it stays above 0.")]
    running: Annotated[Number, doc("Running now.")]
    succeeded: Annotated[Number, doc("Ended in SUCCEEDED.")]
    failed: Annotated[Number, doc("Ended in FAILED.")]
    timed_out: Annotated[Number, doc("Ended in TIMED_OUT.")]
    aborted: Annotated[Number, doc("Stopped because the run had failed, was aborted or had no more time.")]
    total: Annotated[Number, doc("All that are known; final once the dataset is read.")]
    results_written: Annotated[
        Number, doc("Results exported: 0 until the end, then all, failed and pending ones included.")
    ]
    failures_not_redrivable: Annotated[
        Number, doc("Failed, timed out or aborted, and not chosen by the redriveFilter of the last redrive.")
    ]
    pending_redrive: Annotated[Number, doc("Waiting to be redriven: in none of the other counters but total.")]


class ResultWriterDetails(Status, frozen=True):
    """Where the manifest lies."""

    bucket: Annotated[Bucket, doc("Bucket of the manifest.")]
    key: Annotated[str, Meta(max_length=2048), doc("Key of the manifest.")]


class FailureSummary(Status, frozen=True):
    """One error name and how often it happened."""

    error: Annotated[Cause, doc("The error's name; children choose theirs freely.")]
    count: Annotated[Number, doc("How many child executions ended with it.")]
    cause: Annotated[Cause | UnsetType, doc("The cause that one of them gave, cut short.")] = UNSET
    child: Annotated[Name | UnsetType, doc("The name of that child execution.")] = UNSET


def _listed(**schema: Any) -> Meta:
    return Meta(extra_json_schema=schema)


class MapRunStatus(Status, frozen=True):
    """What came of a run so far."""

    observed_generation: Annotated[Number | UnsetType, doc("The generation of the spec that this status is of.")] = (
        UNSET
    )
    conditions: Annotated[
        list[Condition] | UnsetType,
        _listed(**{"maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
        doc("Conditions of the run. Succeeded is the one to wait for."),
    ] = UNSET
    start_time: Annotated[Time | UnsetType, doc("When the run started; a redrive does not change it.")] = UNSET
    completion_time: Annotated[
        Time | UnsetType, doc("When the run had ended and its results were written; left out while it is redriven.")
    ] = UNSET
    map_run_arn: Annotated[Location | UnsetType, doc("The run's name in AWS's form, as in result files.")] = UNSET
    item_counts: Annotated[Counts | UnsetType, doc("The items, by what became of them.")] = UNSET
    execution_counts: Annotated[Counts | UnsetType, doc("The child executions, by what became of them.")] = UNSET
    max_concurrency: Annotated[Number | UnsetType, doc("Most child executions at once, as in force now.")] = UNSET
    redrive_count: Annotated[Number | UnsetType, doc("How often the run was redriven.")] = UNSET
    redrive_time: Annotated[Time | UnsetType, doc("When the last redrive began; left out before the first.")] = UNSET
    retries: Annotated[Number | UnsetType, doc("Attempts beyond the first, of all child executions.")] = UNSET
    result_writer_details: Annotated[
        ResultWriterDetails | UnsetType, doc("Where the manifest of the results lies.")
    ] = UNSET
    output: Annotated[
        Any | UnsetType,
        _listed(**ANY_JSON, nullable=True),
        doc("The run's output: any JSON, when it is at most 8,192 bytes."),
    ] = UNSET
    output_location: Annotated[Location | UnsetType, doc("Where the run's output lies when it is larger.")] = UNSET
    failures: Annotated[
        list[FailureSummary] | UnsetType,
        _listed(maxItems=10),
        doc("The most frequent errors since the start, or since the last redrive began; at most 10."),
    ] = UNSET
