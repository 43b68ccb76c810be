"""What a user sees of a run: the status object and the events, both functions of one snapshot.

Rule 1: the status is O(1) in the number of items, at most 10 KB (design §2).
Rule 2: an event marks a turn of the run, never one child; its key makes saying it twice harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from maprun.core import arns, tolerance
from maprun.core.progress import Progress, Tally
from maprun.core.scheduling import PlanView
from maprun.core.times import iso
from maprun.errors import TOLERANCE_CAUSE, Failure, Reason
from maprun.model import MapRunSpec, RunRef
from maprun.records import ChildStatus, RunStatus

CONDITION: Final = "Succeeded"
TRUE: Final = "True"
FALSE: Final = "False"
UNKNOWN: Final = "Unknown"
STATUS_LIMIT: Final = 10 * 1024  # bytes of the whole status
FAILURES_SHOWN: Final = 10
CAUSE_SHOWN: Final = 256  # characters of one cause
MESSAGE_SHOWN: Final = 1024
OUTPUT_SHOWN: Final = 8 * 1024  # bytes
FINISHED: Final = "finished"  # key of the event that tells the end
TURNS: Final = ("waits", "started", "planned", "waiting", "trouble", "error", "tolerance", FINISHED)
"""How the keys of events begin, in the order in which a run comes to them."""
NORMAL: Final = "Normal"
WARNING: Final = "Warning"


class Snapshot(msgspec.Struct, frozen=True):
    """One look at a run. `active`: the children that have a live attempt and are not final, and the items in them.

    What holds the run up, for people: `trouble` with its stores, `waiting` for whatever its children wait for.
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

    @property
    def held_up(self) -> str:
        """All that holds the run up, "" for nothing."""
        return "; ".join(filter(None, (self.trouble, self.waiting)))

    @property
    def failure(self) -> Failure | None:
        """Why the run did not succeed: its verdict's reason, or that its results could not be written."""
        progress = self.progress
        if progress.verdict and progress.verdict.failure:
            return progress.verdict.failure
        return progress.exported.failure if progress.exported else None

    @property
    def ended(self) -> bool:
        """True when the run is final: verdict and results are durable."""
        return self.progress.exported is not None

    @property
    def reason(self) -> Reason:
        """The condition's reason."""
        verdict = self.progress.verdict
        if verdict and verdict.reason:
            return Reason(verdict.reason)
        if self.failure:
            return self.failure.reason
        if verdict:
            return Reason.SUCCEEDED if self.ended else Reason.EXPORTING
        return Reason.RUNNING if self.plan.children else Reason.PLANNING

    @property
    def status(self) -> RunStatus:
        """AWS's status of the run."""
        if not self.ended:
            return RunStatus.RUNNING
        return RunStatus.FAILED if self.failure else RunStatus.SUCCEEDED

    @property
    def known(self) -> Tally:
        """Children and items of the dataset, as far as it is read."""
        return Tally(self.plan.children, self.plan.items)


class Event(msgspec.Struct, frozen=True):
    """One event. `key` is the same for the same turn of the same run."""

    key: str
    type: str
    reason: Reason
    message: str


def render(at: Snapshot, generation: int, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `status` of the resource. `previous` keeps the condition's transition time while its value stays the same."""
    label = arns.label_of(at.spec, at.run)
    value = UNKNOWN if not at.ended else FALSE if at.failure else TRUE
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": [
            condition(value, at.reason, message(at), generation=generation, now=at.now, previous=previous or {})
        ],
        "mapRunArn": arns.map_run_arn(at.run, at.region, label),
        "startTime": iso_seconds(at.progress.started if at.progress.started is not None else at.now),
        "itemCounts": item_counts(at),
        "executionCounts": execution_counts(at),
        "maxConcurrency": at.limit,
        "redriveCount": 0,
        "retries": at.progress.retries,
    } | _ending(at)
    room = STATUS_LIMIT - len(msgspec.json.encode(status | {"failures": []}))
    return status | {"failures": _fitting(failures(at), room)}


def _ending(at: Snapshot) -> dict[str, Any]:
    exported = at.progress.exported
    if exported is None:
        return {}
    ending: dict[str, Any] = {"completionTime": iso_seconds(exported.at)}
    writer = at.spec.result_writer
    output = bytes(exported.output)
    if output and len(output) <= OUTPUT_SHOWN:
        ending["output"] = msgspec.json.decode(output)
    elif output:
        ending["outputLocation"] = at.output_location
    if writer and exported.manifest:
        ending["resultWriterDetails"] = {"bucket": writer.bucket, "key": exported.manifest}
    return ending


def condition(
    value: str, reason: Reason, text: str, *, generation: int, now: float, previous: dict[str, Any]
) -> dict[str, Any]:
    """The condition of a run. It keeps the transition time that it has in the `previous` status while its value stays
    the same.
    """
    before: dict[str, Any] = next((c for c in previous.get("conditions", []) if c.get("type") == CONDITION), {})
    same = before.get("status") == value and before.get("lastTransitionTime")
    return {
        "type": CONDITION,
        "status": value,
        "reason": reason.value,
        "message": text[:MESSAGE_SHOWN],
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if same else iso_seconds(now),
    }


def message(at: Snapshot) -> str:
    """The condition's message: why the run failed or where it stands, and what holds it up."""
    told = _why(at, at.failure) if at.failure else _standing(at)
    return told if at.ended or not at.held_up else f"{told}; {at.held_up}"


def _why(at: Snapshot, failure: Failure) -> str:
    """Error and cause, and what AWS's words leave open. A long cause is cut, so that the hint stays."""
    hint = _most_frequent(at) if failure.cause == TOLERANCE_CAUSE else failure.hint
    told = f"{failure.error}: {failure.cause}" if failure.cause else failure.error
    return f"{told[: MESSAGE_SHOWN - len(hint) - 3]} ({hint})" if hint else told


def _most_frequent(at: Snapshot) -> str:
    counted = f"{at.progress.failed_items} of {at.plan.items} items failed"
    return "".join(f"{counted}, most with {each['error']}: {each['cause']}" for each in failures(at)[:1])


def _standing(at: Snapshot) -> str:
    counts = _counts(at, "items")
    done = f"{counts['succeeded']} of {counts['total']} items succeeded, {counts['failed'] + counts['timedOut']} failed"
    if at.ended:
        return done
    if at.progress.verdict:
        return f"{done}; writing the results"
    reading = "" if at.plan.seal else " (the dataset is still being read)"
    return f"{done}, {counts['running']} running, {counts['pending']} pending{reading}"


def item_counts(at: Snapshot) -> dict[str, int]:
    """`status.itemCounts`: the items in each state."""
    return _counts(at, "items")


def execution_counts(at: Snapshot) -> dict[str, int]:
    """`status.executionCounts`: the children in each state."""
    return _counts(at, "children")


def _counts(at: Snapshot, unit: str) -> dict[str, int]:
    """AWS's counters (§6.1). A child between two attempts counts as pending: it holds no slot."""
    known: int = getattr(at.known, unit)
    counts = {field: int(getattr(at.progress.tally(status), unit)) for field, status in _FIELDS.items()}
    unfinished = known - sum(counts.values())
    running = min(int(getattr(at.active, unit)), unfinished)
    exported = known if at.ended else 0
    return {
        "pending": unfinished - running,
        "running": running,
        **counts,
        "total": known,
        "resultsWritten": exported,
        "failuresNotRedrivable": 0,
        "pendingRedrive": 0,
    }


_FIELDS: Final = {
    "succeeded": ChildStatus.SUCCEEDED,
    "failed": ChildStatus.FAILED,
    "timedOut": ChildStatus.TIMED_OUT,
    "aborted": ChildStatus.ABORTED,
}


def failures(at: Snapshot) -> list[dict[str, Any]]:
    """The most frequent errors, each with its count, one cause and the name of one child."""
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


def _fitting(entries: list[dict[str, Any]], room: int) -> list[dict[str, Any]]:
    """As much as goes into `room` bytes: first the causes are cut shorter, then the rarer errors left out."""
    fitting = entries
    for shown in (CAUSE_SHOWN // 4, 0):
        if len(msgspec.json.encode(fitting)) > room:
            fitting = [{**each, "cause": each["cause"][:shown]} for each in entries]
    while fitting and len(msgspec.json.encode(fitting)) > room:
        fitting = fitting[:-1]
    return fitting


def events(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    """What is worth an event between two looks at a run."""
    if before is None:
        yield Event("started", NORMAL, Reason.STARTED, "The map run started")
    if now.plan.seal and not (before and before.plan.seal):
        seal = now.plan.seal
        yield Event(
            "planned",
            NORMAL,
            Reason.PLANNED,
            f"The dataset is read: {seal.items} items in {seal.children} child executions",
        )
    for error, tally in now.progress.failures.items():
        if before is None or error not in before.progress.failures:
            child = arns.child_name(now.run, tally.child)
            yield Event(
                f"error.{error}",
                WARNING,
                Reason.CHILD_FAILED,
                f"First failure with {error}, in {child}: {tally.cause[:CAUSE_SHOWN]}",
            )
    yield from _tolerance_events(before, now)
    if now.trouble and not (before and before.trouble == now.trouble):
        yield Event(f"trouble.{now.trouble}", WARNING, Reason.STORE_UNAVAILABLE, now.trouble[:MESSAGE_SHOWN])
    if now.waiting and not (before and before.waiting == now.waiting):
        yield Event(f"waiting.{now.waiting}", WARNING, Reason.CHILDREN_WAITING, now.waiting[:MESSAGE_SHOWN])
    if now.ended and not (before and before.ended):
        yield Event(FINISHED, WARNING if now.failure else NORMAL, now.reason, message(now)[:MESSAGE_SHOWN])


def _tolerance_events(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    mark = _tolerance_mark(now)
    if mark > (_tolerance_mark(before) if before else 0):
        failed = now.progress.failed_items
        yield Event(
            f"tolerance.{mark}",
            WARNING,
            Reason.TOLERANCE,
            f"{mark} % of the tolerated failures are used: {failed} items failed",
        )


def _tolerance_mark(at: Snapshot) -> int:
    spec = at.spec
    if not spec.failure_count and not spec.percentage:
        return 0  # nothing is tolerated, and the first failure says so
    return tolerance.share_used(spec.failure_count, spec.percentage, at.progress.failed_items, at.plan.total)


def iso_seconds(at: float) -> str:
    """A time as Kubernetes writes it: whole seconds, UTC."""
    return iso(float(int(at)))
