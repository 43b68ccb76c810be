"""What to do next: one pure decision from plan, progress and observation.

Rule 1: no I/O, no clock, no randomness: `now` and `rng` are arguments.
Rule 2: decisions are made of durable facts only. What is being written (`writing`) is left alone until it is durable.
Rule 3: what is counted are items: an outcome gets the number of items in its child here, and nowhere else.
Rule 4: a slot is free only when the attempt in it is gone: active and not yet reaped attempts together never exceed
        `limit`.
Rule 5: children that wait for a retry are looked through only when one of them may be due.
Rule 6: what was launched and has not started is withdrawn when it may not start any more.
Rule 7: a clock that was set back lets no child wait longer than its retriers can ask for: farther off, it is due.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge, nsmallest
from itertools import chain, islice
from math import inf
from typing import Final

import msgspec

from maprun.core import retrying, verdicts
from maprun.core.progress import Between, Progress
from maprun.core.retrying import Rng
from maprun.core.situation import Observation, PlanView, Situation, limit
from maprun.errors import Failure, StatesError
from maprun.records import Attempt, ChildStatus, Outcome, Record, Retry, Suspended

__all__ = ["Decision", "Observation", "PlanView", "Situation", "decide", "limit"]

MAX_LOST: Final = 20  # infrastructure losses of one child in a row, before they become its error
LOST_DELAY_LIMIT: Final = 60.0  # seconds
NO_RETRIER: Final = -1


class Decision(msgspec.Struct, frozen=True):
    """What to do now. `records` go to the journal; `wake_at` is when to decide again if nothing happens before.

    `withdraws` are launches that shall not start after all. `retry_at`: until then no retry is due that could start,
    but for those that become known later.
    """

    records: tuple[Record, ...] = ()
    launches: tuple[Attempt, ...] = ()
    withdraws: tuple[Attempt, ...] = ()
    cancels: tuple[Attempt, ...] = ()
    reaps: tuple[Attempt, ...] = ()
    export: bool = False
    wake_at: float | None = None
    retry_at: float = -inf

    def within(self, launches: int) -> Decision:
        """The same with at most so many launches."""
        if len(self.launches) <= launches:
            return self
        return msgspec.structs.replace(self, launches=self.launches[:launches], retry_at=-inf)


def decide(at: Situation, rng: Rng) -> Decision:
    """The next step of a run. Calling it again without new facts decides the same, but for jitter."""
    progress = at.progress
    ended = progress.verdict is not None or at.verdict_writing
    verdict = None if ended else verdicts.verdict(at)
    records: list[Record] = [_settled(at, outcome, rng) for outcome in at.seen.finished if _is_new(at, outcome)]
    if progress.verdict is not None:
        records += _aborts(at)
    if verdict:
        records.append(verdict)
    elif not ended and _suspend_changes(at):
        records.append(Suspended(at.now, at.spec.suspend))
    stops = bool(ended or verdict or at.spec.suspend)
    launches, retry_at = ((), at.retry_at) if stops or at.seen.held else _launches(at)
    return Decision(
        records=tuple(records),
        launches=launches,
        withdraws=_withdraws(at, stops),
        cancels=tuple(
            Attempt(child, number)
            for child, number in at.seen.active.items()
            if progress.settles(Attempt(child, number))
        ),
        reaps=tuple(outcome.key for outcome in at.seen.finished if progress.settles(outcome.key)),
        export=_quiet(at) and not records,
        wake_at=None if ended or verdict else _wake_at(at, retry_at),
        retry_at=retry_at,
    )


def _suspend_changes(at: Situation) -> bool:
    return at.spec.suspend != (at.progress.suspended_at is not None) and not at.suspend_writing


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


def _withdraws(at: Situation, stops: bool) -> tuple[Attempt, ...]:
    """All that is starting when the run stops, else what is beyond the limit, the last children first."""
    starting = sorted(at.seen.starting & at.seen.active.keys())
    beyond = max(0, len(at.seen.active) + len(at.seen.finished) - at.limit)
    kept = 0 if stops else max(0, len(starting) - beyond)
    return tuple(Attempt(child, at.seen.active[child]) for child in starting[kept:])


def _launches(at: Situation) -> tuple[tuple[Attempt, ...], float]:
    """Attempts to start now: due retries first, then children to be redriven, then those that never started, each in
    the order of the items. And until when no other retry is due.
    """
    free, taken = at.free, at.taken
    retries, retry_at = _retries(at, free, taken)
    first = chain(_redone(at.progress), at.progress.never_started(at.plan.children))
    children = islice(chain(retries, (child for child in first if child not in taken)), free)
    return tuple(Attempt(child, at.progress.attempts(child) + 1) for child in children), retry_at


def _retries(at: Situation, free: int, taken: set[int]) -> tuple[list[int], float]:
    """The first children whose retry is due, as many as are free, and until when no other one is."""
    if not free or at.retry_at > at.now:
        return [], at.retry_at
    underway = at.underway  # each of these will be told of again, with what became of it
    waiting = [(child, between.at) for child, between in at.progress.between.items() if child not in underway]
    latest = at.now + max(LOST_DELAY_LIMIT, retrying.longest(at.spec.item_processor.retry))
    due = [child for child, moment in waiting if not at.now < moment <= latest]
    ready = nsmallest(free, (child for child in due if child not in taken))
    later = min((moment for _, moment in waiting if at.now < moment <= latest), default=inf)
    return ready, later if len(ready) == len(due) else at.now


def _redone(progress: Progress) -> Iterator[int]:
    return merge(*(waiting.children for waiting in progress.redo.values()))


def _wake_at(at: Situation, retry_at: float) -> float | None:
    """When a retry is due or the run's time is over, whichever comes first."""
    moments = [retry_at] if at.now < retry_at < inf and not at.spec.suspend else []
    if at.spec.timeout_seconds and at.progress.suspended_at is None:
        moments.append(at.now + at.spec.timeout_seconds - at.progress.running_for(at.now))
    return min(moments, default=None)


def _quiet(at: Situation) -> bool:
    """True when the verdict is durable and nothing of the run is left to settle."""
    return at.progress.verdict is not None and not (
        at.seen.active or at.seen.finished or at.writing or at.progress.between
    )
