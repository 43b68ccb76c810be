"""What a decision is made of: what is planned, what is durable, what runs, and what is wanted.

Rule 1: values only; what follows from them is said in core/scheduling.py and core/verdicts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import starmap
from math import inf

import msgspec

from maprun.core.progress import Progress
from maprun.errors import Failure
from maprun.model import MapRunSpec
from maprun.records import Attempt, Outcome, PlanSeal


class Observation(msgspec.Struct, frozen=True):
    """What a launcher sees of one run at a moment.

    `active`: attempts that were started (or whose start is under way) and have not ended, child → attempt number.
    `finished`: ended attempts that still exist (their Job is not deleted yet), each with its outcome (`retry` unset).
    `waiting`: why nothing more can be started right now ("" when it can), in words for the user, e.g. a quota.
    `refused`: the work can never start for a reason in the user's template; ends the run.
    `starting`: the children of `active` whose start is under way, so that it may still be withdrawn.
    `held`: what is launched now would not start; one that is `starting` finds out when it would.
    """

    active: dict[int, int]
    finished: tuple[Outcome, ...] = ()
    waiting: str = ""
    refused: Failure | None = None
    starting: frozenset[int] = frozenset()
    held: bool = False

    @property
    def children(self) -> set[int]:
        """The children whose attempt exists."""
        return {*self.active, *(outcome.child for outcome in self.finished)}


class PlanView(msgspec.Struct, frozen=True):
    """How far the plan is: `children` and `items` are durable; `seal` when reading ended well; `failure` when it did
    not.
    """

    children: int = 0
    items: int = 0
    seal: PlanSeal | None = None
    failure: Failure | None = None

    @property
    def total(self) -> int | None:
        """Items of the whole dataset, None while it is being read."""
        return self.seal.items if self.seal else None


class Situation(msgspec.Struct, frozen=True):
    """Everything a decision depends on. `ceiling` is the operator's own bound on live children of a run, `items` tells
    how many items are in the children that `seen` shows (1 where it does not tell). `retry_at` is that of an earlier
    decision, or sooner.
    """

    spec: MapRunSpec
    plan: PlanView
    progress: Progress
    seen: Observation
    ceiling: int
    now: float
    writing: frozenset[Attempt] = frozenset()
    verdict_writing: bool = False
    suspend_writing: bool = False
    items: Mapping[int, int] = {}
    retry_at: float = -inf

    @property
    def limit(self) -> int:
        """Most live children."""
        return limit(self.spec, self.ceiling)

    @property
    def free(self) -> int:
        """How many children may start beside those that are live."""
        return max(0, self.limit - len(self.seen.active) - len(self.seen.finished))

    @property
    def taken(self) -> set[int]:
        """Children that are not to be started: they are live, or what became of them is being written."""
        return self.seen.children | {attempt.child for attempt in self.writing}

    @property
    def underway(self) -> set[int]:
        """Those of the `taken` whose attempt is not settled."""
        seen = {*starmap(Attempt, self.seen.active.items()), *(outcome.key for outcome in self.seen.finished)}
        return {attempt.child for attempt in seen | self.writing if not self.progress.settles(attempt)}

    def items_in(self, child: int) -> int:
        """How many items are in a child that has begun."""
        between = self.progress.between.get(child)
        return between.items if between else self.items.get(child, 1)


def limit(spec: MapRunSpec, ceiling: int) -> int:
    """Most live children of a run: `maxConcurrency`, at most the operator's ceiling; 0 stands for the ceiling."""
    return min(spec.concurrency or ceiling, ceiling)
