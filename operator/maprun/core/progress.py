"""How far a run is: a fold over its journal, and nothing else.

Rule 1: `Progress` is immutable; `with_records` is the only way forward, and the same records always give the same
        progress.
Rule 2: a child is counted once: the first final outcome of a child stands, whatever comes after it.
Rule 3: the size follows what is in flight (children between attempts, holes in the finished range), never the number of
        items.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from maprun.core import retrying
from maprun.core.intervals import IntervalSet
from maprun.errors import Failure
from maprun.records import Attempt, ChildStatus, Exported, Opened, Outcome, Record, Verdict

DISTINCT_ERRORS = 100  # error names kept apart; later ones are counted together
OTHER_ERRORS = "(other errors)"


class Tally(msgspec.Struct, frozen=True):
    """Children, and the items in them."""

    children: int = 0
    items: int = 0

    def plus(self, items: int) -> Tally:
        """One more child, with its items."""
        return Tally(self.children + 1, self.items + items)


class FailureTally(msgspec.Struct, frozen=True):
    """How often an error ended a child, and one example of it: its cause and the child's number."""

    count: int
    cause: str
    child: int


class Between(msgspec.Struct, frozen=True):
    """A child that had at least one attempt and will have another.

    `attempts` were made, the next may start `at`; `spent` counts the retries of each retrier, `lost` the infrastructure
    losses in a row;
    `started` is the start of its first attempt, `items` the number of items in it.
    """

    attempts: int
    at: float
    spent: tuple[int, ...] = ()
    lost: int = 0
    started: float | None = None
    items: int = 1


class Progress(msgspec.Struct, frozen=True):
    """The fold. `done` holds the final children; `tallies` counts them by status; `between` those that wait for
    another attempt.
    """

    done: IntervalSet = IntervalSet()
    tallies: dict[ChildStatus, Tally] = {}
    between: dict[int, Between] = {}
    retries: int = 0
    failures: dict[str, FailureTally] = {}
    started: float | None = None
    verdict: Verdict | None = None
    exported: Exported | None = None

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
        """Attempts of a child that is not final whose outcome is known."""
        between = self.between.get(child)
        return between.attempts if between else 0

    def with_records(self, records: Iterable[Record]) -> Progress:
        """The progress after these records, in their order."""
        fold = _Fold(self)
        for record in records:
            fold.add(record)
        return fold.result()


class _Fold:
    """Mutable scratch of one `with_records`: the sets are copied once for each call, not once for each record."""

    def __init__(self, base: Progress) -> None:
        self.base = base
        self.fields: dict[str, object] = {}
        self.done: set[int] = set()
        self.tallies = dict(base.tallies)
        self.between = dict(base.between)
        self.failures = dict(base.failures)
        self.retries = base.retries

    def add(self, record: Record) -> None:
        match record:
            case Outcome():
                self.outcome(record)
            case Opened(at=at):
                if self.base.started is None:
                    self.fields.setdefault("started", at)
            case Verdict():
                if self.base.verdict is None:
                    self.fields.setdefault("verdict", record)
            case Exported():
                self.fields["exported"] = record

    def outcome(self, outcome: Outcome) -> None:
        before = self.between.get(outcome.child)
        if outcome.child in self.base.done or outcome.child in self.done:
            return
        if before and outcome.attempt <= before.attempts:
            return
        if outcome.retry is None:
            self.final(outcome)
        else:
            self.between[outcome.child] = _between(before, outcome)
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

    def result(self) -> Progress:
        return msgspec.structs.replace(
            self.base,
            done=self.base.done.with_all(sorted(self.done)),
            tallies=self.tallies,
            between=self.between,
            failures=self.failures,
            retries=self.retries,
            **self.fields,
        )


def _between(before: Between | None, outcome: Outcome) -> Between:
    retry = outcome.retry
    assert retry is not None
    before = before or Between(0, 0.0, started=outcome.started)
    spent = retrying.spent_after(before.spent, retry) if retry.retrier >= 0 else before.spent
    lost = before.lost + 1 if outcome.status is ChildStatus.LOST else 0
    started = before.started if before.started is not None else outcome.started
    return Between(outcome.attempt, retry.at, spent, lost, started, outcome.items)


def encode(progress: Progress) -> bytes:
    """The progress as a snapshot, for the journal."""
    return msgspec.json.encode(
        _Snapshot(progress.done.encode(), msgspec.structs.replace(progress, done=IntervalSet())),
        enc_hook=lambda _: None,
    )


def decode(snapshot: bytes) -> Progress:
    """The progress that `encode` wrote."""
    read = msgspec.json.decode(snapshot, type=_Snapshot, dec_hook=lambda _type, _value: IntervalSet())
    return msgspec.structs.replace(read.progress, done=IntervalSet.decode(read.done))


class _Snapshot(msgspec.Struct, frozen=True):
    done: str
    progress: Progress
