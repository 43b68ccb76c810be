"""The part of the spec that says what becomes of the items: `itemBatcher` and `itemProcessor`.

Rules 1 to 3 of `maprun.model` hold.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from maprun.fields import (
    ANY_JSON,
    JOB_TEMPLATE,
    MAX_ITEMS,
    MAX_SECONDS,
    PAYLOAD_LIMIT,
    UNRESOLVED,
    DecimalString,
    ErrorName,
    Expression,
    Model,
    ReferencePath,
    Seconds,
    doc,
)


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


Delay = Annotated[int, Meta(ge=1, le=31_622_400)]
Attempts = Annotated[int, Meta(ge=0, le=MAX_SECONDS)]
Batched = Annotated[int, Meta(ge=1, le=MAX_ITEMS)]
BatchBytes = Annotated[int, Meta(ge=1, le=PAYLOAD_LIMIT)]
Rate = Annotated[int, Meta(ge=1, le=MAX_SECONDS)] | DecimalString


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
    ] = msgspec.field(default_factory=list)
    timeout_seconds: Annotated[
        Seconds | None,
        doc(
            "Longest time of one attempt, in seconds; then it ends with States.Timeout.",
            "Default: no limit; 1 to 99,999,999.",
        ),
    ] = None
