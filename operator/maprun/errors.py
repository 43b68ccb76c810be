"""Names of everything that can go wrong: AWS error names, condition reasons, and the exceptions that carry them.

Rule 1: failure of the work is data (`Failure`); an exception means that machinery broke or a user's input is wrong.
Rule 2: the strings here are API: users match them in `retry`, alerts and scripts. They never change their meaning.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

import msgspec


class StatesError(StrEnum):
    """Error names of AWS (`aws-distributed-map.md` §1.6, §3.3, §5.6), and those of Job children (design §3)."""

    ALL = "States.ALL"
    TASK_FAILED = "States.TaskFailed"
    TIMEOUT = "States.Timeout"
    RUNTIME = "States.Runtime"
    QUERY_EVALUATION_ERROR = "States.QueryEvaluationError"
    REFERENCE_PATH_CONFLICT = "States.ReferencePathConflict"
    DATA_LIMIT_EXCEEDED = "States.DataLimitExceeded"
    ITEM_READER_FAILED = "States.ItemReaderFailed"
    RESULT_WRITER_FAILED = "States.ResultWriterFailed"
    EXCEED_TOLERATED_FAILURE_THRESHOLD = "States.ExceedToleratedFailureThreshold"
    JOB_OOM_KILLED = "Job.OOMKilled"
    JOB_LOST = "Job.Lost"
    JOB_REFUSED = "Job.Refused"
    JOB_START_FAILED = "Job.StartFailed"


class Reason(StrEnum):
    """Reasons of the `Succeeded` condition, and of events."""

    PLANNING = "Planning"
    RUNNING = "Running"
    EXPORTING = "Exporting"
    SUCCEEDED = "Succeeded"
    INVALID_SPEC = "InvalidSpec"
    INVALID_JOB_TEMPLATE = "InvalidJobTemplate"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_NOT_USABLE = "SecretNotUsable"
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    CONFIG_MAP_NOT_USABLE = "ConfigMapNotUsable"
    CREDENTIALS_NOT_SHARED = "CredentialsNotShared"
    ENDPOINT_NOT_ALLOWED = "EndpointNotAllowed"
    STATE_NOT_ALLOWED = "StateNotAllowed"
    ITEM_READER_FAILED = "ItemReaderFailed"
    RESULT_WRITER_FAILED = "ResultWriterFailed"
    TOLERATED_FAILURE_THRESHOLD_EXCEEDED = "ToleratedFailureThresholdExceeded"
    DATA_LIMIT_EXCEEDED = "DataLimitExceeded"
    RUNTIME_ERROR = "RuntimeError"
    SUSPENDED = "Suspended"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    ABORTED = "Aborted"
    TIMED_OUT = "TimedOut"
    # Events only.
    RESUMED = "Resumed"
    CONCURRENCY_CHANGED = "ConcurrencyChanged"
    TOLERANCE_CHANGED = "ToleranceChanged"
    TIMEOUT_CHANGED = "TimeoutChanged"
    REDRIVEN = "Redriven"
    NOT_REDRIVABLE = "NotRedrivable"
    STARTED = "Started"
    PLANNED = "Planned"
    CHILD_FAILED = "ChildFailed"
    TOLERANCE = "ToleranceUsed"
    CHILDREN_WAITING = "ChildrenWaiting"
    STORE_UNAVAILABLE = "StoreUnavailable"
    API_UNAVAILABLE = "ApiUnavailable"
    OPERATOR_ERROR = "OperatorError"


REASON_OF_ERROR: Final = {
    StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD: Reason.TOLERATED_FAILURE_THRESHOLD_EXCEEDED,
    StatesError.ITEM_READER_FAILED: Reason.ITEM_READER_FAILED,
    StatesError.RESULT_WRITER_FAILED: Reason.RESULT_WRITER_FAILED,
    StatesError.DATA_LIMIT_EXCEEDED: Reason.DATA_LIMIT_EXCEEDED,
}

TOLERANCE_CAUSE: Final = "The specified tolerated failure threshold was exceeded"  # the exact text of AWS, §3.3

# The exact text of AWS: recorded for tasks, reported by users for a Map state.
PAYLOAD_LIMIT_CAUSE: Final = (
    "The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service limit."
)
PAYLOAD_LIMIT_HINT: Final = "at most 262144 bytes; set spec.resultWriter.resource to write the results to a bucket"


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a child, or a whole run, did not succeed: AWS's Error and Cause.

    `hint` is for people, where AWS's text does not tell the field to look at: never part of a result.
    """

    error: str
    cause: str = ""
    hint: str = ""

    @property
    def reason(self) -> Reason:
        """The condition reason that goes with this error."""
        return (
            REASON_OF_ERROR.get(StatesError(self.error), Reason.RUNTIME_ERROR)
            if self.error in list(StatesError)
            else Reason.RUNTIME_ERROR
        )


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong in a user's input: the field (`spec.itemReader.resource`) and what must be there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class MapRunError(Exception):
    """Root of the exceptions that MapRun raises."""


class Held(MapRunError):
    """A run is held up, or refused, for a `reason` of its condition; the text names the field."""

    def __init__(self, reason: Reason, problem: Problem) -> None:
        super().__init__(str(problem))
        self.reason = reason


class RunFailed(MapRunError):
    """The run as a whole cannot go on, for a reason that lies in the user's input: it ends with `failure`.

    `reason` is the condition's reason; by default it follows from the error's name.
    """

    def __init__(self, error: str, cause: str, reason: Reason | None = None) -> None:
        super().__init__(f"{error}: {cause}")
        self.failure = Failure(error, cause)
        self.reason = reason or self.failure.reason

    def with_hint(self, hint: str) -> Self:
        """The same error; with the hint, unless its cause names a field already."""
        if "spec." not in self.failure.cause:
            self.failure = msgspec.structs.replace(self.failure, hint=hint)
        return self


class SpecInvalid(RunFailed):
    """The spec breaks rules; `problems` lists all of them."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(StatesError.RUNTIME, "; ".join(map(str, problems)), Reason.INVALID_SPEC)
        self.problems = problems


class StoreError(MapRunError):
    """A store answered with an error that no retry will mend (bad bucket name, broken data, …)."""


class NotFound(StoreError):
    """The bucket or key does not exist."""


class AccessDenied(StoreError):
    """The credentials are missing, unknown, or lack a permission."""


class AlreadyExists(StoreError):
    """A create-if-absent lost: the key exists."""


class Changed(StoreError):
    """The object is no longer the one that was asked for (its ETag differs)."""


class StoreUnavailable(StoreError):
    """The store could not be reached or asked to slow down, after the client's own retries; try again later."""


class Fenced(MapRunError):
    """Another operator writes this run's journal; this one must stop at once and touch nothing."""
