"""The records of children, the manifest, and the run's result, byte for byte in AWS's shape (`aws-distributed-map.md`
§5.2 to §5.5, §12; those of a redrive are as AWS was recorded on 2026-09-24, see docs/results.md).

Rule 1: pure and repeatable: the same plan and outcomes give the same bytes.
Rule 2: what becomes of a record on its way into a file is said in core/result_forms.py.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from maprun.core import arns
from maprun.core.times import iso
from maprun.errors import PAYLOAD_LIMIT_CAUSE, PAYLOAD_LIMIT_HINT, Failure, RunFailed, StatesError
from maprun.model import RunRef
from maprun.records import Batch, ChildStatus, Outcome

SUCCEEDED: Final = "SUCCEEDED"
FAILED: Final = "FAILED"
PENDING: Final = "PENDING"
CATEGORIES: Final = (FAILED, PENDING, SUCCEEDED)  # in the manifest's key order
DATA_TYPE: Final = "binary/octet-stream"
MANIFEST_TYPE: Final = "application/octet-stream"

_NOT_REDRIVABLE: Final = "Execution is SUCCEEDED and cannot be redriven"
_ABORTED_BY: Final = "The map run execution [%s] which was managing this resource was aborted"
_encode = msgspec.json.Encoder(order="sorted").encode


class Names(NamedTuple):
    """What the records of one run have in common: the run, its region and its label."""

    run: RunRef
    region: str
    label: str


class ResultFile(NamedTuple):
    """One line of the manifest: key and size in bytes."""

    key: str
    size: int


class Again(NamedTuple):
    """How often redrives ran a child again, and when its very first attempt started (None: it never ran)."""

    redrives: int
    started: float | None


def record(names: Names, batch: Batch, outcome: Outcome | None, again: Again | None = None) -> bytes:
    """The record of one child, in the form NONE: `Input` and `Output` are JSON in a string; a pending child has three
    keys (§5.4). `again` is there for a child that a redrive ran again.
    """
    shown: dict[str, object] = {"Input": _text(batch.input), "InputDetails": {"Included": True}}
    if outcome is None:
        return _encode(shown | {"Status": PENDING})
    ended = _execution(names, outcome) | _ending(names, outcome)
    return _encode(shown | ended | (_again(again, outcome) if again else {}))


def _again(again: Again, outcome: Outcome) -> dict[str, object]:
    """What a redrive changes: a child's life began with its first attempt; the last redrive of it is told, too."""
    return {
        "RedriveCount": again.redrives,
        "RedriveDate": iso(_first(outcome.started, outcome.stopped)),
        "StartDate": iso(_first(again.started, outcome.started, outcome.stopped)),
    }


def _execution(names: Names, outcome: Outcome) -> dict[str, object]:
    name = arns.child_name(names.run, outcome.child)
    return {
        "ExecutionArn": arns.child_arn(names.run, names.region, names.label, name),
        "Name": name,
        "OutputDetails": {"Included": True},
        "RedriveCount": 0,
        "StartDate": iso(_first(outcome.started, outcome.stopped)),
        "StateMachineArn": arns.state_machine_arn(names.run, names.region, names.label),
        "Status": outcome.status.value,
        "StopDate": iso(_first(outcome.stopped, outcome.started)),
    }


def _ending(names: Names, outcome: Outcome) -> dict[str, object]:
    if outcome.status is ChildStatus.SUCCEEDED:
        return {
            "Output": _text(outcome.output),
            "RedriveStatus": "NOT_REDRIVABLE",
            "RedriveStatusReason": _NOT_REDRIVABLE,
        }
    ending: dict[str, object] = {"RedriveStatus": "REDRIVABLE_BY_MAP_RUN"}
    if outcome.failure:
        ending |= {"Error": outcome.failure.error, "Cause": outcome.failure.cause}
    elif outcome.status is ChildStatus.ABORTED:
        ending["Cause"] = _ABORTED_BY % arns.map_run_arn(names.run, names.region, names.label)
    return ending


def failed_entry(outcome: Outcome) -> bytes:
    """What stands for a tolerated failure in an output without a bucket (recorded: `rep-tolerated_failure_…`)."""
    failure = outcome.failure or Failure("")
    return msgspec.json.encode({"Status": outcome.status.value, "Error": failure.error, "Cause": failure.cause})


def category(outcome: Outcome | None) -> str:
    """The result file that a child belongs to; failed, timed out and aborted ones share one (§5.2)."""
    if outcome is None:
        return PENDING
    return SUCCEEDED if outcome.status is ChildStatus.SUCCEEDED else FAILED


def folder(prefix: str, run_uid: str, redrive: int = 0) -> str:
    """Where the files of a run lie in the bucket, or those of one of its redrives; a `/` is added behind the prefix if
    it has none (§5.2).
    """
    return (prefix.rstrip("/") + "/" if prefix else "") + run_uid + "/" + (f"Redrive-{redrive}/" if redrive else "")


def output_key(redrive: int = 0) -> str:
    """Key of a round's output in the run's own store, when it is too large for the status. Each round has its own: an
    operator that was stopped while it wrote that of an earlier round may still do so.
    """
    return f"output-{redrive}.json" if redrive else "output.json"


def manifest(bucket: str, map_run_arn: str, files: dict[str, list[ResultFile]]) -> bytes:
    """`manifest.json`: compact, all three categories always there (§5.3)."""
    listed = {name: [{"Key": file.key, "Size": file.size} for file in files.get(name, [])] for name in CATEGORIES}
    return _encode({"DestinationBucket": bucket, "MapRunArn": map_run_arn, "ResultFiles": listed})


def exported_result(map_run_arn: str, bucket: str, manifest_key: str) -> bytes:
    """The run's result when results were written to S3 (§5.5)."""
    return _encode({"MapRunArn": map_run_arn, "ResultWriterDetails": {"Bucket": bucket, "Key": manifest_key}})


def too_large(run: RunRef) -> RunFailed:
    """The error of a run whose result or output is larger than `PAYLOAD_LIMIT` (§5.5)."""
    cause = PAYLOAD_LIMIT_CAUSE.format(name=run.name)
    return RunFailed(StatesError.DATA_LIMIT_EXCEEDED, cause).with_hint(PAYLOAD_LIMIT_HINT)


def _text(raw: msgspec.Raw) -> str:
    return (bytes(raw) or b"null").decode()


def _first(*times: float | None) -> float:
    return next((time for time in times if time is not None), 0.0)
