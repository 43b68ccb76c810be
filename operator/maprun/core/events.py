"""What is worth an event of a run: the turns between two looks at it.

Rule 1: an event marks a turn of the run, never one child.
Rule 2: its key makes saying it twice harmless, also after a restart, and never hides another turn: it holds the round,
        and for what may come again in one round, what makes it another time (the spec's generation, a time).
Rule 3: a look at a run that had ended before tells its end only, and that a redrive finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from maprun.core import arns, tolerance
from maprun.core.status import CAUSE_SHOWN, MESSAGE_SHOWN, Snapshot, execution_counts, item_counts, message, standing
from maprun.errors import Reason
from maprun.records import ChildStatus, RunStatus

FINISHED: Final = "finished"  # turn of the event that tells the end
TURNS: Final = (
    *("waits", "started", "redriven", "planned", "waiting", "trouble", "changed", "held", "error", "tolerance"),
    *("stopped", "not-redrivable", FINISHED),
)
"""How the keys of events begin, in the order in which a round comes to them."""
NORMAL: Final = "Normal"
WARNING: Final = "Warning"


class Event(msgspec.Struct, frozen=True):
    """One event. `key` is the same for the same turn of the same round; `round` is the number of the redrive, 0 before
    the first.
    """

    key: str
    type: str
    reason: Reason
    message: str
    round: int = 0

    @property
    def turn(self) -> str:
        """The kind of turn, one of `TURNS`."""
        return self.key.partition(".")[0]


def events(before: Snapshot | None, now: Snapshot, generation: int) -> Iterator[Event]:
    """What happened between two looks at a run that goes on, or went on until now. `before` is None for the first look
    in this life of the operator, `generation` that of the spec now.
    """
    return (_of_round(told, now) for told in _happened(before, now, generation))


def looked(now: Snapshot, generation: int, *, asked: bool) -> Iterator[Event]:
    """What a look at a run tells that had ended already, and that nobody drove since. `asked`: the spec was edited
    after its end was told.
    """
    yield _of_round(_end(now), now)
    if asked and now.spec.redrives > now.progress.redrives and not now.spec.abort:
        left = item_counts(now)["succeeded"] < now.plan.items and now.spec.redrive_filter
        why = "spec.redriveFilter chooses nothing that did not succeed" if left else "there is nothing to redrive"
        text = f"The run stays as it is: {why}; {standing(now)}"
        yield _of_round(Event(f"not-redrivable.{generation}", WARNING, Reason.NOT_REDRIVABLE, text), now)


def _of_round(told: Event, now: Snapshot) -> Event:
    return msgspec.structs.replace(told, message=told.message[:MESSAGE_SHOWN], round=now.progress.redrives)


def _happened(before: Snapshot | None, now: Snapshot, generation: int) -> Iterator[Event]:
    same_round = before is not None and before.progress.redrives == now.progress.redrives
    earlier = before if same_round else None
    if earlier is None:
        yield _beginning(now)
    yield from _planned(before, now)
    if before is not None:
        yield from _changes(before, now, generation)
    yield from _held(before, now)
    yield from _errors(earlier, now)
    yield from _obstacles(earlier, now)
    yield from _stopped(earlier, now)
    if now.ended and not (earlier and earlier.ended):
        yield _end(now)


def _beginning(now: Snapshot) -> Event:
    number = now.progress.redrives
    if not number:
        return Event("started", NORMAL, Reason.STARTED, "The map run started")
    return Event("redriven", NORMAL, Reason.REDRIVEN, f"Redrive {number} begins: {_again(now)}")


def _again(now: Snapshot) -> str:
    """What a redrive does, in children."""
    redo = {status: len(waiting.children) for status, waiting in now.progress.redo.items()}
    failed = redo.get(ChildStatus.FAILED, 0) + redo.get(ChildStatus.TIMED_OUT, 0)
    parts = [
        f"{count} {words}"
        for count, words in (
            (failed, "failed children"),
            (redo.get(ChildStatus.ABORTED, 0), "aborted ones"),
            (_startable(now), "that never started"),
        )
        if count
    ]
    if parts:
        return f"{', '.join(parts[:-1])} and {parts[-1]} run again" if parts[1:] else f"{parts[0]} run again"
    if now.plan.seal is None:
        return "the dataset is read again"
    return "the results are written again"


def _startable(now: Snapshot) -> int:
    """Children that never started and that this redrive may start, as far as the dataset is read."""
    progress = now.progress
    pending = execution_counts(now)["pending"] - len(progress.between)
    if progress.only is None:
        return max(0, pending)
    chosen, children = progress.only.minus(progress.begun), now.plan.children
    return children - sum(len(gap) for gap in chosen.gaps(children))


def _planned(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    """The dataset is read: told by who saw it happen, or by the first look in the round that reads it."""
    seal, unseen = now.plan.seal, before is None and now.progress.redrives != now.progress.plan
    if seal and not unseen and not (before and before.plan.seal):
        text = f"The dataset is read: {seal.items} items in {seal.children} child executions"
        yield Event("planned", NORMAL, Reason.PLANNED, text)


def _errors(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    for error, tally in now.progress.failures.items():
        if before is None or error not in before.progress.failures:
            child = arns.child_name(now.run, tally.child)
            text = f"First failure with {error}, in {child}: {tally.cause[:CAUSE_SHOWN]}"
            yield Event(f"error.{error}", WARNING, Reason.CHILD_FAILED, text)
    mark = _tolerance_mark(now)
    if mark > (_tolerance_mark(before) if before else 0):
        text = f"{mark} % of the tolerated failures are used: {_failed(now)} items failed"
        yield Event(f"tolerance.{mark}", WARNING, Reason.TOLERANCE, text)


def _tolerance_mark(at: Snapshot) -> int:
    spec = at.spec
    if not spec.failure_count and not spec.percentage:
        return 0  # nothing is tolerated, and the first failure says so
    return tolerance.share_used(spec.failure_count, spec.percentage, _failed(at), at.plan.total)


def _failed(at: Snapshot) -> int:
    """Items that failed in this round."""
    return at.progress.failed_items - at.progress.carried


def _obstacles(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    if now.trouble and not (before and before.trouble == now.trouble):
        yield Event(f"trouble.{now.trouble}", WARNING, Reason.STORE_UNAVAILABLE, now.trouble)
    if now.waiting and not (before and before.waiting == now.waiting):
        reason = Reason.WAITING_FOR_CAPACITY if now.capacity else Reason.CHILDREN_WAITING
        yield Event(f"waiting.{now.waiting}", WARNING, reason, now.waiting)


def _changes(before: Snapshot, now: Snapshot, generation: int) -> Iterator[Event]:
    """What an edit of the spec brought into force."""
    old, new = before.spec, now.spec
    if old.max_concurrency != new.max_concurrency:
        text = f"maxConcurrency is {new.max_concurrency} now, was {old.max_concurrency}{_excess(now)}"
        yield Event(f"changed.concurrency.{generation}", NORMAL, Reason.CONCURRENCY_CHANGED, text)
    tolerances = [
        f"{field} is {_value(wanted)} now, was {_value(had)}"
        for field, had, wanted in (
            ("toleratedFailureCount", old.tolerated_failure_count, new.tolerated_failure_count),
            ("toleratedFailurePercentage", old.tolerated_failure_percentage, new.tolerated_failure_percentage),
        )
        if had != wanted
    ]
    if tolerances:
        text = f"{'; '.join(tolerances)}; {_failed(now)} items failed so far"
        yield Event(f"changed.tolerance.{generation}", NORMAL, Reason.TOLERANCE_CHANGED, text)
    if old.timeout_seconds != new.timeout_seconds:
        text = f"timeoutSeconds is {_value(new.timeout_seconds)} now, was {_value(old.timeout_seconds)}{_left(now)}"
        yield Event(f"changed.timeout.{generation}", NORMAL, Reason.TIMEOUT_CHANGED, text)


def _value(value: Any) -> str:
    return "not set" if value is None else str(value)


def _excess(now: Snapshot) -> str:
    """What a new limit leads to."""
    more = now.active.children - now.limit
    if more > 0:
        return f"; {more} more children are running than may: they are let end"
    return f"; the operator's own ceiling is {now.limit}" if now.limit != now.spec.max_concurrency else ""


def _left(now: Snapshot) -> str:
    """What a new timeout leads to."""
    if now.spec.timeout_seconds is None:
        return ""
    left = now.spec.timeout_seconds - now.progress.running_for(now.now)
    return f"; {int(left)} seconds are left" if left > 0 else "; that time is over already"


def _held(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    was, since = before.progress.suspended_at if before else None, now.progress.suspended_at
    if now.suspended and since != was:
        running = f"; {now.active.children} running children may end" if now.active.children else ""
        yield Event(f"held.{since}", NORMAL, Reason.SUSPENDED, f"No child is started any more{running}")
    if was is not None and since is None:
        yield Event(f"held.{was}.no-more", NORMAL, Reason.RESUMED, "Children are started again")


def _stopped(before: Snapshot | None, now: Snapshot) -> Iterator[Event]:
    """An abort or a timeout was decided. A redrive may end with the verdict that stood before it: that is no news."""
    verdict = now.progress.verdict
    if verdict is None or verdict.status is not RunStatus.ABORTED or (before and before.progress.verdict):
        return
    left = f"{now.active.children} running children are stopped, {item_counts(now)['pending']} items stay pending"
    seconds = now.spec.timeout_seconds
    if verdict.reason == Reason.ABORTED and now.spec.abort:
        yield Event("stopped", NORMAL, Reason.ABORTED, f"spec.abort is true: {left}")
    elif verdict.reason == Reason.TIMED_OUT and seconds and now.progress.running_for(verdict.at) >= seconds:
        yield Event("stopped", WARNING, Reason.TIMED_OUT, f"spec.timeoutSeconds, {seconds}, is over: {left}")


def _end(now: Snapshot) -> Event:
    return Event(FINISHED, WARNING if now.failure else NORMAL, now.reason, message(now))
