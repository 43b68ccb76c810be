"""What a redrive runs again: of the children that did not succeed those that its filter chooses (§6.6; the filter is
beyond AWS).

Rule 1: a filter chooses an ended child when both its last error and its number are named, one that never started by its
        number, and not at all where errors are named.
Rule 2: `States.ALL` stands for every error here, and each may be named: a redrive is asked for, a retry is not.
Rule 3: memory is that of core/finals.py and one byte more for each child.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from maprun.core import retrying
from maprun.core.finals import Finals, Place
from maprun.core.intervals import IntervalSet
from maprun.core.progress import UNSUCCESSFUL, Progress
from maprun.core.verdicts import EXCEEDED
from maprun.errors import StatesError
from maprun.model import RedriveFilter
from maprun.records import ChildStatus, Exported, Outcome, Record, Redo, Redriven, RunStatus

_CODES: Final = {status: code for code, status in enumerate(UNSUCCESSFUL, 1)}


def redriven(
    progress: Progress, records: Iterable[tuple[int, int, Record]], wanted: RedriveFilter | None, at: float
) -> Redriven | None:
    """The record that begins the next redrive of an exported run, from its whole journal: each record with its
    segment's number and its line in it. None when nothing is left, or chosen, that did not succeed.
    """
    only = _only(wanted)
    redo = _redo(progress, records, wanted or RedriveFilter())
    if not (redo or _failed_itself(progress) or _never_started(progress, only) or _unsuccessful(progress, wanted)):
        return None
    return Redriven(
        number=progress.redrives + 1,
        at=at,
        redo=redo,
        only=None if only is None else only.encode(),
        reread=not progress.begun,
        before=progress.verdict,
    )


def _failed_itself(progress: Progress) -> bool:
    """True when it was not for its children: the dataset could not be read, or the results not be written."""
    verdict, exported = progress.verdict, progress.exported
    assert verdict is not None, "it has ended"
    assert exported is not None, "it has ended"
    of_children = verdict.status is not RunStatus.FAILED or verdict.failure in (None, EXCEEDED)
    return exported.failure is not None or not of_children


def _never_started(progress: Progress, only: IntervalSet | None) -> bool:
    """True when a child is chosen that never started. What is exported are all children of the plan."""
    assert progress.exported is not None, "it has ended"
    chosen = msgspec.structs.replace(progress, only=only)
    return any(True for _ in chosen.never_started(progress.exported.records))


def _unsuccessful(progress: Progress, wanted: RedriveFilter | None) -> bool:
    """True when all that is left is wanted, and something is: perhaps items that nobody has read yet."""
    return wanted is None and progress.verdict is not None and progress.verdict.status is not RunStatus.SUCCEEDED


def _only(wanted: RedriveFilter | None) -> IntervalSet | None:
    """The children that never started and are chosen; None: all."""
    if wanted is None or (wanted.error_equals is None and wanted.indexes is None):
        return None
    return IntervalSet() if wanted.error_equals or wanted.indexes is None else _numbers(wanted.indexes)


def _redo(
    progress: Progress, records: Iterable[tuple[int, int, Record]], wanted: RedriveFilter
) -> dict[ChildStatus, Redo]:
    """The chosen children by the status that they ended in."""
    size = max((each.stop for each in progress.done.ranges), default=0)
    finals, codes, items = Finals(size), bytearray(size), Counter[int]()
    numbers = None if wanted.indexes is None else _numbers(wanted.indexes)
    for segment, line, record in records:
        match record:
            case Outcome(child=child) if finals.add(Place(segment, line), record):
                items[codes[child]] -= record.items
                named = numbers is None or child in numbers
                codes[child] = _CODES.get(record.status, 0) if named and _named(wanted, record) else 0
                items[codes[child]] += record.items
            case Redriven():
                finals.redriven(record)
            case Exported():
                finals.exported(record)
    chosen = {status: _runs_of(code, codes) for status, code in _CODES.items()}
    return {status: Redo(each.encode(), items[_CODES[status]]) for status, each in chosen.items() if each}


def _named(wanted: RedriveFilter, outcome: Outcome) -> bool:
    names, error = wanted.error_equals, outcome.failure.error if outcome.failure else ""
    if names is None or StatesError.ALL in names:
        return True
    return bool(error) and (error in names or retrying.matches(names, error))


def _runs_of(code: int, codes: bytearray) -> IntervalSet:
    return IntervalSet.of_runs(found.span() for found in re.finditer(re.escape(bytes([code])) + b"+", codes))


def _numbers(text: str) -> IntervalSet:
    """The numbers of `redriveFilter.indexes`, in any order: `0-99,205`."""
    numbers = IntervalSet()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers = numbers.with_all(range(int(first), int(last or first) + 1))
    return numbers
