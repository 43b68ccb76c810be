"""What progress counts: children by their end, errors, and children on their way from one attempt to the next.

Rule 1: values only; how they come to be is said in core/progress.py.
"""

from __future__ import annotations

import msgspec

from maprun.core import retrying
from maprun.core.intervals import IntervalSet
from maprun.records import ChildStatus, Outcome


class Tally(msgspec.Struct, frozen=True):
    """Children, and the items in them."""

    children: int = 0
    items: int = 0

    def plus(self, items: int, children: int = 1) -> Tally:
        """One more child, or so many, with their items."""
        return Tally(self.children + children, self.items + items)


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


class Waiting(msgspec.Struct, frozen=True):
    """Children that wait to be redriven, and the items in them."""

    children: IntervalSet = IntervalSet()
    items: int = 0

    def minus(self, children: IntervalSet, items: int) -> Waiting:
        """Without those that had an outcome, and their items."""
        return Waiting(self.children.minus(children), self.items - items)


def between(before: Between | None, outcome: Outcome) -> Between:
    """Where a child stands behind an attempt that another one follows."""
    retry = outcome.retry
    assert retry is not None, "another attempt follows"
    before = before or Between(0, 0.0, started=outcome.started)
    spent = retrying.spent_after(before.spent, retry) if retry.retrier >= 0 else before.spent
    lost = before.lost + 1 if outcome.status is ChildStatus.LOST else 0
    started = before.started if before.started is not None else outcome.started
    return Between(outcome.attempt, retry.at, spent, lost, started, outcome.items)
