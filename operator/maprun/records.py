"""What is written down: the plan (immutable batches) and the journal (outcomes and run events).

Rule 1: these structs are a file format. Fields are only ever added, with defaults; short names keep segments small.
Rule 2: all times are seconds since the epoch, UTC, rounded to milliseconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from maprun.errors import Failure

NOTHING: Final = msgspec.Raw(b"")
"""No output. It is left out of a line because it is this very object: another empty Raw would make broken JSON."""


class ChildStatus(StrEnum):
    """How an attempt ended.

    LOST is an infrastructure loss: it is not a failure of the work and spends no retry (design §3).
    """

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    ABORTED = "ABORTED"
    LOST = "LOST"


class RunStatus(StrEnum):
    """Status of a map run (`aws-distributed-map.md` §6.1)."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """The items one child receives.

    `index` is the child's number (from 0), `items` their count, `input` the child's input as JSON.
    """

    index: int
    items: int
    input: msgspec.Raw


class PlanHeader(msgspec.Struct, frozen=True):
    """First line of a plan segment: where it stands, and what the reader had read before it.

    `source` is the dataset's fingerprint (an ETag; empty for state input), the same in each segment of a plan.
    `first_child` and `first_item` count from 0; `resume` is the reader's own bookmark at the start of this segment.
    `children` and `items` are what the segment holds, and `behind` is the bookmark where the next one begins.
    """

    segment: int
    first_child: int
    first_item: int
    source: str = ""
    resume: str = ""
    children: int = 0
    items: int = 0
    behind: str = ""


class PlanSeal(msgspec.Struct, frozen=True):
    """Totals of a finished plan: number of children (batches), items and segments."""

    children: int
    items: int
    segments: int


class Attempt(msgspec.Struct, frozen=True, order=True):
    """One start of a child. Both numbers identify it within a run; `number` counts from 1."""

    child: int
    number: int


class Retry(msgspec.Struct, frozen=True):
    """What was decided after a failed attempt.

    `retrier` (an index into the spec's `retry`) was spent, and the next attempt may start `at` that time.
    """

    retrier: int
    at: float


class Outcome(msgspec.Struct, frozen=True, tag="outcome", tag_field="t", omit_defaults=True):
    """What one attempt came to.

    `output` is JSON and only there for SUCCEEDED; `failure` for FAILED, TIMED_OUT, ABORTED and LOST.

    `items` repeats the batch's number of items, so that folding the journal never needs the plan. Launchers leave it
    alone; it is set where an outcome is settled (core/scheduling.py).
    `retry` is set when another attempt follows; without it the child is final (LOST always leads to another attempt).
    `started` is None when the attempt never ran.
    """

    child: int
    attempt: int
    status: ChildStatus
    items: int = 1
    output: msgspec.Raw = NOTHING
    failure: Failure | None = None
    started: float | None = None
    stopped: float | None = None
    retry: Retry | None = None

    @property
    def key(self) -> Attempt:
        """The attempt this is the outcome of."""
        return Attempt(self.child, self.attempt)


class Opened(msgspec.Struct, frozen=True, tag="opened", tag_field="t"):
    """An operator took the run over: everything behind this record was written by `writer` (a random id)."""

    writer: str
    at: float


class Verdict(msgspec.Struct, frozen=True, tag="verdict", tag_field="t", omit_defaults=True):
    """The run's end is decided. Nothing is launched behind it; running children are aborted, then results are written.

    `reason` is the condition's reason where it does not follow from the failure.
    """

    status: RunStatus
    at: float
    failure: Failure | None = None
    reason: str = ""


class Redo(msgspec.Struct, frozen=True, array_like=True):
    """Children that run again, as an interval set writes them (core/intervals.py), and the number of items in them."""

    children: str
    items: int


class Redriven(msgspec.Struct, frozen=True, tag="redriven", tag_field="t", omit_defaults=True):
    """Behind `Exported`: redrive `number` (from 1) begins. Verdict and export are open again (§6.6).

    `redo` holds the children that run again, by the status that they had ended in; all other final ones stay as they
    are. `only` limits the children that never started and may start now; None: all, "": none. `reread`: no child had
    ever started, so the dataset is read anew, into a plan of its own. `before` is the verdict that the run had: it
    stands again when children are left that this redrive did not choose.
    """

    number: int
    at: float
    redo: dict[ChildStatus, Redo] = {}
    only: str | None = None
    reread: bool = False
    before: Verdict | None = None


class Suspended(msgspec.Struct, frozen=True, tag="suspended", tag_field="t", omit_defaults=True):
    """The run is held from now on (`on`), or goes on again. The time in between does not count for its timeout."""

    at: float
    on: bool


class Exported(msgspec.Struct, frozen=True, tag="exported", tag_field="t", omit_defaults=True):
    """Result files and manifest are durable.

    `records` is the number of exported records, `output` the run's output (JSON), `manifest` the manifest's key in the
    writer's bucket, "" without one. `succeeded` are key and size of each SUCCEEDED file of this round: the manifests of
    later redrives list them, too (§5.2).
    """

    at: float
    records: int
    output: msgspec.Raw = NOTHING
    failure: Failure | None = None
    manifest: str = ""
    succeeded: list[tuple[str, int]] = []


Record = Outcome | Opened | Verdict | Exported | Redriven | Suspended
"""One line of the journal."""
