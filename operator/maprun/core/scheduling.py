"""What to do next: one pure decision from plan, progress and observation.

Rule 1: no I/O, no clock, no randomness: `now` and `rng` are arguments.
Rule 2: decisions are made of durable facts only. What is being written (`writing`) is left alone until it is durable.
Rule 3: what is counted are items: an outcome gets the number of items in its child here, and nowhere else.
Rule 4: a slot is free only when the attempt in it is gone: active and not yet reaped attempts together never exceed
        `limit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import nsmallest
from itertools import islice
from typing import Final

import msgspec

from maprun.core import retrying, tolerance
from maprun.core.progress import Between, Progress
from maprun.core.retrying import Rng
from maprun.errors import TOLERANCE_CAUSE, Failure, Reason, StatesError
from maprun.model import MapRunSpec
from maprun.records import Attempt, ChildStatus, Outcome, PlanSeal, Record, Retry, RunStatus, Verdict

MAX_LOST: Final = 20  # infrastructure losses of one child in a row, before they become its error
LOST_DELAY_LIMIT: Final = 60.0  # seconds
NO_RETRIER: Final = -1


class Observation(msgspec.Struct, frozen=True):
    """What a launcher sees of one run at a moment.

    `active`: attempts that were started (or whose start is under way) and have not ended, child → attempt number.
    `finished`: ended attempts that still exist (their Job is not deleted yet), each with its outcome (`retry` unset).
    `waiting`: why nothing more can be started right now ("" when it can), in words for the user, e.g. a quota.
    `refused`: the work can never start for a reason in the user's template; ends the run.
    """

    active: dict[int, int]
    finished: tuple[Outcome, ...] = ()
    waiting: str = ""
    refused: Failure | None = None

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


class Decision(msgspec.Struct, frozen=True):
    """What to do now. `records` go to the journal; `wake_at` is when to decide again if nothing happens before."""

    records: tuple[Record, ...] = ()
    launches: tuple[Attempt, ...] = ()
    cancels: tuple[Attempt, ...] = ()
    reaps: tuple[Attempt, ...] = ()
    export: bool = False
    wake_at: float | None = None


class Situation(msgspec.Struct, frozen=True):
    """Everything a decision depends on. `ceiling` is the operator's own bound on live children of a run, `items` tells
    how many items are in the children that `seen` shows (1 where it does not tell).
    """

    spec: MapRunSpec
    plan: PlanView
    progress: Progress
    seen: Observation
    ceiling: int
    now: float
    writing: frozenset[Attempt] = frozenset()
    verdict_writing: bool = False
    items: Mapping[int, int] = {}

    @property
    def limit(self) -> int:
        """Most live children."""
        return limit(self.spec, self.ceiling)

    def items_in(self, child: int) -> int:
        """How many items are in a child that has begun."""
        between = self.progress.between.get(child)
        return between.items if between else self.items.get(child, 1)


def limit(spec: MapRunSpec, ceiling: int) -> int:
    """Most live children of a run: `maxConcurrency`, at most the operator's ceiling; 0 stands for the ceiling."""
    return min(spec.concurrency or ceiling, ceiling)


def decide(at: Situation, rng: Rng) -> Decision:
    """The next step of a run. Calling it again without new facts decides the same, but for jitter."""
    progress = at.progress
    ended = progress.verdict is not None or at.verdict_writing
    verdict = None if ended else _verdict(at)
    records: list[Record] = [_settled(at, outcome, rng) for outcome in at.seen.finished if _is_new(at, outcome)]
    if progress.verdict is not None:
        records += _aborts(at)
    if verdict:
        records.append(verdict)
    launches = () if ended or verdict else tuple(islice(_next_attempts(at), _free(at)))
    return Decision(
        records=tuple(records),
        launches=launches,
        cancels=tuple(
            Attempt(child, number)
            for child, number in at.seen.active.items()
            if progress.settles(Attempt(child, number))
        ),
        reaps=tuple(outcome.key for outcome in at.seen.finished if progress.settles(outcome.key)),
        export=_quiet(at) and not records,
        wake_at=None if ended else _next_retry(at),
    )


def _verdict(at: Situation) -> Verdict | None:
    """The run's end, if it is decided. The checks stand in the order in which they win."""
    plan, progress = at.plan, at.progress
    if at.seen.refused:
        return Verdict(RunStatus.FAILED, at.now, at.seen.refused, Reason.INVALID_JOB_TEMPLATE)
    if plan.failure:
        return Verdict(RunStatus.FAILED, at.now, plan.failure)
    if tolerance.breached(at.spec.failure_count, at.spec.percentage, progress.failed_items, plan.total):
        return Verdict(
            RunStatus.FAILED, at.now, Failure(StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, TOLERANCE_CAUSE)
        )
    if plan.seal and len(progress.done) == plan.seal.children:
        return Verdict(RunStatus.SUCCEEDED, at.now)
    return None


def _is_new(at: Situation, outcome: Outcome) -> bool:
    return outcome.key not in at.writing and not at.progress.settles(outcome.key)


def _settled(at: Situation, outcome: Outcome, rng: Rng) -> Outcome:
    """The outcome with what follows from it: another attempt, or the child's end. A final outcome starts when the
    child started.
    """
    between = at.progress.between.get(outcome.child, Between(0, 0.0))
    retry = None if at.progress.verdict else _retry(at, outcome, between, rng)
    started = between.started if between.started is not None else outcome.started
    items = at.items_in(outcome.child)
    if outcome.status is ChildStatus.LOST and retry is None:
        return msgspec.structs.replace(
            outcome, status=_end_of_lost(at), failure=_failure_of_lost(at, outcome), started=started, items=items
        )
    return msgspec.structs.replace(outcome, retry=retry, started=outcome.started if retry else started, items=items)


def _retry(at: Situation, outcome: Outcome, between: Between, rng: Rng) -> Retry | None:
    match outcome.status:
        case ChildStatus.LOST if between.lost + 1 < MAX_LOST:
            return Retry(NO_RETRIER, at.now + min(2.0**between.lost - 1, LOST_DELAY_LIMIT))
        case ChildStatus.FAILED | ChildStatus.TIMED_OUT if outcome.failure:
            return retrying.decide(at.spec.item_processor.retry, between.spent, outcome.failure, at.now, rng)
        case _:
            return None


def _end_of_lost(at: Situation) -> ChildStatus:
    return ChildStatus.ABORTED if at.progress.verdict else ChildStatus.FAILED


def _failure_of_lost(at: Situation, outcome: Outcome) -> Failure | None:
    if at.progress.verdict:
        return None
    cause = outcome.failure.cause if outcome.failure else ""
    return Failure(StatesError.JOB_LOST, f"lost {MAX_LOST} times in a row, the last time: {cause}")


def _aborts(at: Situation) -> Iterator[Outcome]:
    """Behind a verdict, whatever has begun and has not ended is aborted; what never started stays pending (§3.3)."""
    finished = {outcome.child for outcome in at.seen.finished}
    begun = dict(at.seen.active)
    begun |= {child: between.attempts + 1 for child, between in at.progress.between.items() if child not in begun}
    for child, number in sorted(begun.items()):
        attempt = Attempt(child, number)
        if child not in finished and attempt not in at.writing and not at.progress.settles(attempt):
            between = at.progress.between.get(child)
            started = between.started if between else None
            yield Outcome(child, number, ChildStatus.ABORTED, at.items_in(child), started=started, stopped=at.now)


def _free(at: Situation) -> int:
    return max(0, at.limit - len(at.seen.active) - len(at.seen.finished))


def _next_attempts(at: Situation) -> Iterator[Attempt]:
    """Attempts that may start now: due retries first, then children that never started, each in the order of the
    items.
    """
    taken = _taken(at)
    due = (child for child, between in at.progress.between.items() if between.at <= at.now and child not in taken)
    for child in nsmallest(_free(at), due):
        yield Attempt(child, at.progress.attempts(child) + 1)
    for child in _never_started(at):
        if child not in taken:
            yield Attempt(child, 1)


def _never_started(at: Situation) -> Iterable[int]:
    return (child for child in at.progress.done.missing(at.plan.children) if child not in at.progress.between)


def _taken(at: Situation) -> set[int]:
    return at.seen.children | {attempt.child for attempt in at.writing}


def _next_retry(at: Situation) -> float | None:
    return min((between.at for between in at.progress.between.values() if between.at > at.now), default=None)


def _quiet(at: Situation) -> bool:
    """True when the verdict is durable and nothing of the run is left to settle."""
    return at.progress.verdict is not None and not (
        at.seen.active or at.seen.finished or at.writing or at.progress.between
    )
