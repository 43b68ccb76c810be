"""One look at a run, and what it says: how the run stands, in AWS's counters and in a sentence.

Rule 1: everything here is O(1) in the number of items.
Rule 2: counters never contradict each other: what is pending, running, final and waiting to be redriven is the total.
Rule 3: the sentence about an ended run says what is left, and which edit of the spec goes on with it.

`core/rendering.py` makes the resource's status of it, `core/events.py` its events.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from maprun.core import arns, tolerance
from maprun.core.progress import Progress
from maprun.core.scheduling import PlanView
from maprun.core.tallies import Tally
from maprun.errors import TOLERANCE_CAUSE, Failure, Reason
from maprun.model import MapRunSpec, RunRef
from maprun.records import ChildStatus, RunStatus

CONDITION: Final = "Succeeded"
TRUE: Final = "True"
FALSE: Final = "False"
UNKNOWN: Final = "Unknown"
FAILURES_SHOWN: Final = 10
CAUSE_SHOWN: Final = 256  # characters of one cause
MESSAGE_SHOWN: Final = 1024
OUTPUT_SHOWN: Final = 8 * 1024  # bytes of a status


class Snapshot(msgspec.Struct, frozen=True):
    """One look at a run. `active`: the children that have a live attempt and are not final, and the items in them;
    `redoing`: those of them that ended before, and are run again for the first time in this redrive.

    What holds the run up, for people: `trouble` with its stores, `waiting` for whatever its children wait for;
    `capacity` is the part of that which is a ceiling of the operator.
    """

    run: RunRef
    spec: MapRunSpec
    region: str
    plan: PlanView
    progress: Progress
    active: Tally
    limit: int
    now: float
    trouble: str = ""
    output_location: str = ""
    waiting: str = ""
    redoing: Tally = Tally()
    capacity: str = ""

    @property
    def held_up(self) -> str:
        """All that holds the run up, "" for nothing."""
        return "; ".join(filter(None, (self.trouble, self.waiting)))

    @property
    def suspended(self) -> bool:
        """True while the run is held."""
        return self.progress.suspended_at is not None and self.progress.verdict is None

    @property
    def failure(self) -> Failure | None:
        """Why the run did not succeed: its verdict's reason, or that its results could not be written."""
        verdict, exported = self.progress.verdict, self.progress.exported
        failed = verdict.failure if verdict else None
        unwritten = exported.failure if exported else None
        return failed or unwritten if verdict and verdict.status is RunStatus.FAILED else unwritten or failed

    @property
    def ended(self) -> bool:
        """True when the run is final: verdict and results are durable."""
        return self.progress.exported is not None

    @property
    def reason(self) -> Reason:
        """The condition's reason."""
        verdict = self.progress.verdict
        if verdict and verdict.reason and self.failure == verdict.failure:
            return Reason(verdict.reason)
        if self.failure:
            return self.failure.reason
        if verdict:
            return Reason.SUCCEEDED if self.ended else Reason.EXPORTING
        return self._reason_on_its_way

    @property
    def _reason_on_its_way(self) -> Reason:
        if self.suspended and not self.active.children:
            return Reason.SUSPENDED
        if self.capacity and not self.active.children:
            return Reason.WAITING_FOR_CAPACITY
        return Reason.RUNNING if self.plan.children else Reason.PLANNING

    @property
    def status(self) -> RunStatus:
        """AWS's status of the run."""
        verdict, exported = self.progress.verdict, self.progress.exported
        if exported is None:
            return RunStatus.RUNNING
        return RunStatus.FAILED if exported.failure or verdict is None else verdict.status

    @property
    def redrive_follows(self) -> bool:
        """True when another redrive is wanted of an ended run, and something in it did not succeed."""
        wanted = self.spec.redrives > self.progress.redrives and not self.spec.abort
        complete = self.progress.tally(ChildStatus.SUCCEEDED).children == self.plan.children
        return self.ended and wanted and not (complete and self.status is RunStatus.SUCCEEDED)

    @property
    def known(self) -> Tally:
        """Children and items of the dataset, as far as it is read."""
        return Tally(self.plan.children, self.plan.items)


def item_counts(at: Snapshot) -> dict[str, int]:
    """`status.itemCounts`: the items in each state."""
    return _counts(at, "items")


def execution_counts(at: Snapshot) -> dict[str, int]:
    """`status.executionCounts`: the children in each state."""
    return _counts(at, "children")


def _counts(at: Snapshot, unit: str) -> dict[str, int]:
    """AWS's counters (§6.1). A child between two attempts counts as pending: it holds no slot."""

    def of(tally: Tally) -> int:
        return int(getattr(tally, unit))

    counts = {field: max(0, of(at.progress.tally(status))) for field, status in _FIELDS.items()}
    final = sum(counts.values())
    total = max(of(at.known), final)
    running = min(of(at.active), total - final)
    waiting = of(at.progress.pending_redrive) - of(at.redoing)
    pending_redrive = max(0, min(waiting, total - final - running))
    return {
        "pending": total - final - running - pending_redrive,
        "running": running,
        **counts,
        "total": total,
        "resultsWritten": total if at.ended else 0,
        "failuresNotRedrivable": max(0, of(at.progress.left)),
        "pendingRedrive": pending_redrive,
    }


_FIELDS: Final = {
    "succeeded": ChildStatus.SUCCEEDED,
    "failed": ChildStatus.FAILED,
    "timedOut": ChildStatus.TIMED_OUT,
    "aborted": ChildStatus.ABORTED,
}


def failures(at: Snapshot) -> list[dict[str, Any]]:
    """The most frequent errors of this round, each with its count, one cause and the name of one child."""
    ranked = sorted(at.progress.failures.items(), key=lambda entry: (-entry[1].count, entry[0]))
    return [
        {
            "error": error,
            "count": tally.count,
            "cause": tally.cause[:CAUSE_SHOWN],
            "child": arns.child_name(at.run, tally.child),
        }
        for error, tally in ranked[:FAILURES_SHOWN]
    ]


def message(at: Snapshot) -> str:
    """The condition's message: why the run did not succeed or where it stands, what holds it up, and the way on."""
    behind = way_on(at) if at.ended else at.held_up
    tail = f"; {behind}" if behind else ""
    told = _why(at, at.failure, MESSAGE_SHOWN - len(tail)) if at.failure else standing(at)
    return told + tail


def _why(at: Snapshot, failure: Failure, room: int) -> str:
    """Error and cause, and what AWS's words leave open. A long cause is cut, so that the hint stays."""
    hint = _most_frequent(at) if failure.cause == TOLERANCE_CAUSE else failure.hint
    told = f"{failure.error}: {failure.cause}" if failure.cause else failure.error
    told = f"{told[: room - len(hint) - 3]} ({hint})" if hint else told[:room]
    counted = f"; {standing(at)}" if at.reason is Reason.TIMED_OUT else ""
    return told + counted if len(told) + len(counted) <= room else told


def _most_frequent(at: Snapshot) -> str:
    pending, failed = item_counts(at)["pending"], at.progress.failed_items
    counted = f"{failed} of {at.plan.items} items failed"
    before, spec = at.progress.before, at.spec
    stands = before is not None and before.failure == at.failure
    if stands and not tolerance.breached(spec.failure_count, spec.percentage, failed, at.plan.total):
        counted = f"as before redrive {at.progress.redrives}, which left some aside that did not succeed; now {counted}"
    most = "".join(f", most with {each['error']}: {each['cause']}" for each in failures(at)[:1])
    return counted + most + (f"; {pending} never started" if pending and at.ended else "")


def standing(at: Snapshot) -> str:
    """How far the run is, in items."""
    counts = item_counts(at)
    done = f"{counts['succeeded']} of {counts['total']} items succeeded, {counts['failed'] + counts['timedOut']} failed"
    for field, words in (("aborted", "aborted"), ("pendingRedrive", "waiting to be redriven")):
        done += f", {counts[field]} {words}" if counts[field] else ""
    if at.ended:
        return done + (f", {counts['pending']} never started" if counts["pending"] else "")
    if at.progress.verdict:
        return f"{done}; {_ending(at)}"
    reading = "" if at.plan.seal else " (the dataset is still being read)"
    return f"{done}, {counts['running']} running, {counts['pending']} pending{reading}{_held(at)}"


def _ending(at: Snapshot) -> str:
    children = at.active.children
    return f"stopping {children} running children" if children else "writing the results"


def _held(at: Snapshot) -> str:
    if not at.suspended:
        return ""
    if children := at.active.children:
        return f"; suspended: the {children} running children may end"
    return "; suspended until spec.suspend is false"


def in_status(output: bytes, manifest: str) -> bool:
    """True when a run's output stands in its status: small enough beside the manifest's key, both as they are written
    there (`1e15` and what is escaped take more).
    """
    if len(output) > OUTPUT_SHOWN:
        return False
    written, key = msgspec.json.encode(msgspec.json.decode(output)), msgspec.json.encode(manifest)[1:-1]
    return len(written) + len(key) <= OUTPUT_SHOWN


def way_on(at: Snapshot) -> str:
    """How an ended run that did not succeed goes on: by a redrive, and how to ask for it; "" when none would help."""
    what = _left(at)
    if at.status is RunStatus.SUCCEEDED or not what:
        return ""
    if at.redrive_follows:
        chosen = " if spec.redriveFilter chooses any of that" if at.spec.redrive_filter else ""
        return f"redrive {at.progress.redrives + 1} follows{chosen}"
    raised = f"raise spec.redrives to {max(at.spec.redrives, at.progress.redrives) + 1}"
    edit = f"set spec.abort to false and {raised} in one edit" if at.spec.abort else raised
    return f"to {what}, {edit}"


def _left(at: Snapshot) -> str:
    """What a redrive would do; "" for what the same spec can only meet with the same answer."""
    if at.reason in (Reason.INVALID_JOB_TEMPLATE, Reason.INVALID_SPEC, Reason.DATA_LIMIT_EXCEEDED):
        return ""
    counts = execution_counts(at)
    if counts["succeeded"] < counts["total"]:
        return "run again what did not succeed"
    return "write the results again" if at.plan.seal else "read the dataset again"
