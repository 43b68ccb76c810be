"""Looks at runs of ten children, made of the records of their journals, for the tests of what is told about them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from maprun.core.progress import Progress
from maprun.core.scheduling import PlanView
from maprun.core.status import Snapshot
from maprun.core.tallies import Tally
from maprun.errors import Failure, Reason, StatesError
from maprun.model import MapRunSpec, RunRef
from maprun.records import (
    ChildStatus,
    Exported,
    Opened,
    Outcome,
    PlanSeal,
    Record,
    Redo,
    Redriven,
    RunStatus,
    Suspended,
    Verdict,
)

RUN: Final = RunRef("default", "airports", "6a1f", 0.0)
EXCEEDED: Final = Failure(
    StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, "The specified tolerated failure threshold was exceeded"
)
OVER: Final = Failure(StatesError.TIMEOUT, "", "the run took longer than the 30 seconds of spec.timeoutSeconds")


def ended(
    child: int,
    status: ChildStatus = ChildStatus.SUCCEEDED,
    error: str = "Boom",
    cause: str = "it broke",
    attempt: int = 1,
) -> Outcome:
    """The end of a child with one item."""
    failure = None if status is ChildStatus.SUCCEEDED else Failure(error, cause)
    return Outcome(child, attempt, status, failure=failure, started=1.0, stopped=2.0)


def snapshot(
    records: list[Record],
    *,
    children: int = 10,
    sealed: bool = True,
    active: int = 0,
    trouble: str = "",
    waiting: str = "",
    redoing: int = 0,
    capacity: str = "",
    now: float = 120.0,
    **fields: Any,
) -> Snapshot:
    """A look at a run that began at 60; `fields` are those of its spec."""
    spec = msgspec.convert({"maxConcurrency": 4, "itemProcessor": {"jobTemplate": {}}} | fields, MapRunSpec)
    return Snapshot(
        run=RUN,
        spec=spec,
        region="us-west-2",
        plan=PlanView(children, children, PlanSeal(children, children, 1) if sealed else None),
        progress=Progress().with_records([Opened("w", 60.0), *records]),
        active=Tally(active, active),
        limit=spec.concurrency or 1_000,
        now=now,
        trouble=trouble,
        output_location="file:///state/output.json",
        waiting=waiting,
        redoing=Tally(redoing, redoing),
        capacity=capacity,
    )


SUCCEEDED: Final = Verdict(RunStatus.SUCCEEDED, 100.0)
FAILED: Final = Verdict(RunStatus.FAILED, 100.0, EXCEEDED)
ABORTED: Final = Verdict(RunStatus.ABORTED, 100.0, reason=Reason.ABORTED)
TIMED_OUT: Final = Verdict(RunStatus.ABORTED, 100.0, OVER, Reason.TIMED_OUT)
DONE: Final = Exported(110.0, 10)
UNWRITTEN: Final = Exported(110.0, 10, failure=Failure("States.ResultWriterFailed", "no bucket"))
ALL_TEN: Final = range(10)
ALL: Final = [ended(child) for child in ALL_TEN]
HALF: Final[list[Record]] = [
    *ALL[:3],
    ended(3, ChildStatus.FAILED),
    ended(4, ChildStatus.TIMED_OUT),
    ended(5, ChildStatus.ABORTED),
]
"""Three succeeded, three did not, four never started."""
REDO: Final = {ChildStatus.FAILED: Redo("3", 1), ChildStatus.TIMED_OUT: Redo("4", 1), ChildStatus.ABORTED: Redo("5", 1)}
REDRIVEN: Final[list[Record]] = [*HALF, FAILED, DONE, Redriven(1, 200.0, REDO, before=FAILED)]
"""All that did not succeed runs again."""
SOME_REDRIVEN: Final[list[Record]] = [
    *(*HALF, FAILED, DONE),
    Redriven(1, 200.0, {ChildStatus.FAILED: Redo("3", 1)}, only="", before=FAILED),
]
"""Child 3 alone runs again."""
HELD: Final = Suspended(70.0, True)
RELEASED: Final = Suspended(90.0, False)
