"""Begins a redrive: finds in the journal what runs again; which that is, is said in core/choosing.py.

Rule 1: one pass over the journal, in a thread of its own.
Rule 2: an unreachable store is tried again for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from maprun.adapters.patience import insist
from maprun.adapters.threads import apart
from maprun.core import choosing
from maprun.core.progress import Progress
from maprun.model import MapRunSpec
from maprun.records import Record, Redriven

RETRY_SECONDS: Final = 5.0


class History(Protocol):
    """The journal, read from its start. Synchronous."""

    def records_from(self, segment: int = 1) -> Iterator[tuple[int, int, Record]]:
        """The records from a segment on, in order, each with its segment's number and its line in it."""


class JournalRedriver:
    """Fulfils `ports.Redriver` for one run. `trouble` is told what holds the redrive up ("" when it goes on)."""

    def __init__(self, history: History, trouble: Callable[[str], None] = lambda _: None) -> None:
        self._history, self._trouble = history, trouble

    async def redriven(self, progress: Progress, spec: MapRunSpec, at: float) -> Redriven | None:
        """See `ports.Redriver`. Raises what the run's own store refuses."""
        work = partial(self._redriven, progress, spec, at)
        return await insist(lambda: apart(work), self._trouble, "the redrive cannot begin yet", RETRY_SECONDS)

    def _redriven(self, progress: Progress, spec: MapRunSpec, at: float) -> Redriven | None:
        return choosing.redriven(progress, self._history.records_from(), spec.redrive_filter, at)
