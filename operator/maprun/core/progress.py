"""How far a run is: a fold over its journal, and nothing else.

Rule 1: `Progress` is immutable; `with_records` is the only way forward, and the same records always give the same
        progress.
Rule 2: a child is counted once: the first final outcome of a child stands, whatever comes after it. Only a redrive
        opens it again.
Rule 3: the size follows what is in flight (children between attempts, holes in the finished range), never the number of
        items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Literal

import msgspec

from maprun.core.intervals import IntervalSet
from maprun.core.tallies import Between, FailureTally, Tally, Waiting, between
from maprun.errors import Failure
from maprun.records import Attempt, ChildStatus, Exported, Opened, Outcome, Record, Redriven, Suspended, Verdict

__all__ = ["Between", "FailureTally", "Progress", "Tally", "Waiting", "decode", "encode"]

DISTINCT_ERRORS = 100  # error names kept apart; later ones are counted together
OTHER_ERRORS = "(other errors)"
UNSUCCESSFUL = (ChildStatus.FAILED, ChildStatus.TIMED_OUT, ChildStatus.ABORTED)


class Progress(msgspec.Struct, frozen=True):
    """The fold. `done` holds the final children; `tallies` counts them by status; `between` those that wait for
    another attempt; `begun` are all that ever had an outcome.

    A round is the run's first life or one of its redrives: `redrives` is its number, `round_started` when its clock
    began. `redo` holds the children that this redrive has still to run again, by the status that they had ended in;
    those that it never came to get that status back when the round is exported. `only`: the never-started children
    that this redrive may start (None: all). `highest` is the largest number of an attempt so far: the attempts of
    redriven children count on from `floor`, which is its value when the redrive began. `plan` is the number of the
    redrive that read the dataset anew, 0 for the first reading. `left` are the unsuccessful children that this redrive
    left as they were, `carried` the failed items in them: they count at its end, not on its way. `before` is the
    verdict that was open to this redrive.
    `suspended_at` is set while the run is held, `suspended_for` the seconds of this round that it was held before.
    """

    done: IntervalSet = IntervalSet()
    tallies: dict[ChildStatus, Tally] = {}
    between: dict[int, Between] = {}
    begun: IntervalSet = IntervalSet()
    retries: int = 0
    failures: dict[str, FailureTally] = {}
    started: float | None = None
    verdict: Verdict | None = None
    exported: Exported | None = None
    redrives: int = 0
    round_started: float | None = None
    redo: dict[ChildStatus, Waiting] = {}
    only: IntervalSet | None = None
    highest: int = 0
    floor: int = 0
    plan: int = 0
    left: Tally = Tally()
    carried: int = 0
    before: Verdict | None = None
    suspended_at: float | None = None
    suspended_for: float = 0.0

    @property
    def pending_redrive(self) -> Tally:
        """Children that wait to be redriven (those of them that run now are among them)."""
        return Tally(
            sum(len(each.children) for each in self.redo.values()), sum(each.items for each in self.redo.values())
        )

    def running_for(self, now: float) -> float:
        """Seconds of this round so far, without those in suspend."""
        if self.round_started is None:
            return 0.0
        until = now if self.suspended_at is None else self.suspended_at
        return max(0.0, until - self.round_started - self.suspended_for)

    def tally(self, status: ChildStatus) -> Tally:
        """Final children of this status."""
        return self.tallies.get(status, Tally())

    @property
    def finished(self) -> Tally:
        """All final children."""
        return Tally(sum(t.children for t in self.tallies.values()), sum(t.items for t in self.tallies.values()))

    @property
    def failed_items(self) -> int:
        """Items that count against the tolerance: those of failed and timed out children (`aws-distributed-map.md`
        §3.3).
        """
        return self.tally(ChildStatus.FAILED).items + self.tally(ChildStatus.TIMED_OUT).items

    def settles(self, attempt: Attempt) -> bool:
        """True when the journal holds what became of this attempt, or no longer needs it."""
        return attempt.child in self.done or attempt.number <= self.attempts(attempt.child)

    def attempts(self, child: int) -> int:
        """The number of the last attempt of a child that is not final; what came of it is known."""
        waits = self.between.get(child)
        if waits:
            return waits.attempts
        return self.floor if self.redone(child) else 0

    def redone(self, child: int) -> ChildStatus | None:
        """The status that a child had ended in which has still to run again; None for any other child."""
        return next((status for status, waiting in self.redo.items() if child in waiting.children), None)

    def never_started(self, children: int) -> Iterator[int]:
        """Those of the first `children` that have not begun and may in this round, in the order of the items."""
        for allowed in (range(children),) if self.only is None else self.only.ranges:
            yield from self.begun.missing(min(allowed.stop, children), allowed.start)

    def with_records(self, records: Iterable[Record]) -> Progress:
        """The progress after these records, in their order."""
        progress = self
        for kind, row in groupby(records, type):
            if kind is Outcome:
                progress = _with_outcomes(progress, row)
            else:
                for record in row:
                    progress = _with_turn(progress, record)
        return progress


def _with_outcomes(progress: Progress, outcomes: Iterable[Record]) -> Progress:
    fold = _Fold(progress)
    for outcome in outcomes:
        assert isinstance(outcome, Outcome)
        fold.add(outcome)
    return fold.result()


class _Fold:
    """Mutable scratch of a row of outcomes: the sets are copied once for each row, not once for each outcome."""

    def __init__(self, base: Progress) -> None:
        self.base = base
        self.done: set[int] = set()
        self.begun: list[int] = []
        self.redone: dict[ChildStatus, list[Outcome]] = {}
        self.tallies = dict(base.tallies)
        self.between = dict(base.between)
        self.failures = dict(base.failures)
        self.retries, self.highest = base.retries, base.highest

    def add(self, outcome: Outcome) -> None:
        self.highest = max(self.highest, outcome.attempt)
        child = outcome.child
        if child in self.done or child in self.base.done:
            return
        before = self.between.get(child)
        redone = None if before else self.base.redone(child)
        if outcome.attempt <= (before.attempts if before else self.base.floor if redone else 0):
            return
        if redone:
            self.redone.setdefault(redone, []).append(outcome)
        elif not before:
            self.begun.append(child)
        if outcome.retry is None:
            self.final(outcome)
        else:
            self.between[child] = between(before, outcome)
            self.retries += outcome.retry.retrier >= 0

    def final(self, outcome: Outcome) -> None:
        self.done.add(outcome.child)
        self.between.pop(outcome.child, None)
        self.tallies[outcome.status] = self.tallies.get(outcome.status, Tally()).plus(outcome.items)
        if outcome.status in (ChildStatus.FAILED, ChildStatus.TIMED_OUT) and outcome.failure:
            self.failure(outcome.failure, outcome.child)

    def failure(self, failure: Failure, child: int) -> None:
        known = failure.error in self.failures or len(self.failures) < DISTINCT_ERRORS
        name = failure.error if known else OTHER_ERRORS
        seen = self.failures.get(name)
        self.failures[name] = (
            FailureTally(seen.count + 1, seen.cause, seen.child)
            if seen
            else FailureTally(1, failure.cause[:1024], child)
        )

    def redo(self) -> dict[ChildStatus, Waiting]:
        redo = dict(self.base.redo)
        for status, outcomes in self.redone.items():
            ran = IntervalSet(outcome.child for outcome in outcomes)
            redo[status] = redo[status].minus(ran, sum(outcome.items for outcome in outcomes))
        return {status: waiting for status, waiting in redo.items() if waiting.children}

    def result(self) -> Progress:
        return msgspec.structs.replace(
            self.base,
            done=self.base.done.with_all(self.done),
            begun=self.base.begun.with_all(self.begun),
            redo=self.redo(),
            tallies=self.tallies,
            between=self.between,
            failures=self.failures,
            retries=self.retries,
            highest=self.highest,
        )


def _with_turn(progress: Progress, record: Record) -> Progress:
    """The progress after a record that turns the run as a whole."""
    changed: dict[str, Any] = {}
    match record:
        case Opened(at=at) if progress.started is None:
            changed = {"started": at, "round_started": at}
        case Verdict() if progress.verdict is None:
            changed = {"verdict": record}
        case Suspended(at=at, on=True) if progress.suspended_at is None:
            changed = {"suspended_at": at}
        case Suspended(at=at, on=False) if progress.suspended_at is not None:
            held = max(0.0, at - progress.suspended_at)  # a clock that was set back takes no time away
            changed = {"suspended_at": None, "suspended_for": progress.suspended_for + held}
        case Exported():
            return _exported(progress, record)
        case Redriven():
            return _redriven(progress, record)
    return msgspec.structs.replace(progress, **changed)


def _exported(progress: Progress, record: Exported) -> Progress:
    """The end of a round. What it never came to run again is what it was before."""
    done, tallies = progress.done, dict(progress.tallies)
    for status, waiting in progress.redo.items():
        done = done.union(waiting.children)
        tallies[status] = progress.tally(status).plus(waiting.items, len(waiting.children))
    return msgspec.structs.replace(progress, exported=record, done=done, tallies=tallies, redo={}, only=None)


def _redriven(progress: Progress, record: Redriven) -> Progress:
    """The beginning of a round: some of what did not succeed is open again."""
    redo = {status: Waiting(IntervalSet.decode(each.children), each.items) for status, each in record.redo.items()}
    done, tallies = progress.done, dict(progress.tallies)
    for status, waiting in redo.items():
        done = done.minus(waiting.children)
        tallies[status] = progress.tally(status).plus(-waiting.items, -len(waiting.children))
    opened = msgspec.structs.replace(
        progress,
        redrives=record.number,
        round_started=record.at,
        verdict=None,
        exported=None,
        failures={},
        done=done,
        tallies={status: tally for status, tally in tallies.items() if tally.children},
        redo=redo,
        only=None if record.only is None else IntervalSet.decode(record.only),
        floor=progress.highest,
        plan=record.number if record.reread else progress.plan,
        before=record.before,
        suspended_at=None if progress.suspended_at is None else record.at,
        suspended_for=0.0,
    )
    unsuccessful = [opened.tally(status) for status in UNSUCCESSFUL]
    left = Tally(sum(tally.children for tally in unsuccessful), sum(tally.items for tally in unsuccessful))
    return msgspec.structs.replace(opened, left=left, carried=opened.failed_items)


def encode(progress: Progress) -> bytes:
    """The progress as a snapshot, for the journal."""
    return msgspec.json.encode(_Snapshot(2, progress), enc_hook=IntervalSet.encode)


def decode(snapshot: bytes) -> Progress:
    """The progress that `encode` wrote. ValueError for a snapshot that another version wrote."""
    return msgspec.json.decode(snapshot, type=_Snapshot, dec_hook=lambda _type, text: IntervalSet.decode(text)).progress


class _Snapshot(msgspec.Struct, frozen=True):
    version: Literal[2]
    progress: Progress
