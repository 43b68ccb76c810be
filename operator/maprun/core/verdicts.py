"""How a round of a run ends: its first life, or one of its redrives.

Rule 1: the checks of `verdict` stand in the order in which they win.
Rule 2: what is complete has ended by itself: neither an abort nor a timeout takes that away.
Rule 3: on its way a redrive is judged by its own failures, at its end by all that there are.
"""

from __future__ import annotations

from typing import Final

import msgspec

from maprun.core import tolerance
from maprun.core.situation import Situation
from maprun.errors import TOLERANCE_CAUSE, Failure, Reason, StatesError
from maprun.records import ChildStatus, RunStatus, Verdict

EXCEEDED: Final = Failure(StatesError.EXCEED_TOLERATED_FAILURE_THRESHOLD, TOLERANCE_CAUSE)


def verdict(at: Situation) -> Verdict | None:
    """The end of this round, if it is decided. The checks stand in the order in which they win."""
    plan, progress = at.plan, at.progress
    if at.seen.refused:
        return Verdict(RunStatus.FAILED, at.now, at.seen.refused, Reason.INVALID_JOB_TEMPLATE)
    if _complete(at):  # an abort or a timeout that comes now comes too late
        return _ending(at)
    if at.spec.abort:
        return Verdict(RunStatus.ABORTED, at.now, reason=Reason.ABORTED)
    if plan.failure:
        return Verdict(RunStatus.FAILED, at.now, plan.failure)
    if _breached(at, progress.failed_items - progress.carried):
        return Verdict(RunStatus.FAILED, at.now, EXCEEDED)
    if at.spec.timeout_seconds and progress.running_for(at.now) >= at.spec.timeout_seconds:
        hint = f"the run took longer than the {at.spec.timeout_seconds} seconds of spec.timeoutSeconds"
        return Verdict(RunStatus.ABORTED, at.now, Failure(StatesError.TIMEOUT, "", hint), Reason.TIMED_OUT)
    return None


def _complete(at: Situation) -> bool:
    """True when no child is left that this round may run."""
    progress = at.progress
    if at.plan.seal is None or progress.between or progress.redo:
        return False
    return next(progress.never_started(at.plan.seal.children), None) is None


def _ending(at: Situation) -> Verdict:
    """How a complete round ends. A redrive that left children aside that did not succeed leaves the run as it was."""
    progress, seal = at.progress, at.plan.seal
    assert seal is not None, "complete"
    if _breached(at, progress.failed_items):
        return Verdict(RunStatus.FAILED, at.now, EXCEEDED)
    aside = len(progress.done) < seal.children or progress.tally(ChildStatus.ABORTED).children
    if aside and progress.before:
        return msgspec.structs.replace(progress.before, at=at.now)
    return Verdict(RunStatus.SUCCEEDED, at.now)


def _breached(at: Situation, failed_items: int) -> bool:
    return tolerance.breached(at.spec.failure_count, at.spec.percentage, failed_items, at.plan.total)
