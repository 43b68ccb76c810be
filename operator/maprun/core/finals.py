"""Where in the journal each child's final outcome stands, so that results can be written in item order.

Rule 1: the same outcome is final here and in core/progress.py: the first one without a retry, of an attempt that was
        not settled before. A redriven child is open again; until its next final outcome the earlier one stands.
Rule 2: 13 bytes a child whatever the outcomes hold, and 12 more once a run is redriven.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from maprun.core.intervals import IntervalSet
from maprun.core.results import CATEGORIES, PENDING, SUCCEEDED, category
from maprun.records import Exported, Outcome, Redriven

_CODES: Final = {name: code for code, name in enumerate(sorted(CATEGORIES, key=lambda name: name != PENDING))}
_LINE_BITS: Final = 24
_CLOSED, _WAITS, _RUNS = range(3)  # what a redrive has made of a child


class Place(NamedTuple):
    """A record in the journal: its segment's number and its line in it, both from 0 or more."""

    segment: int
    line: int


class Finals:
    """Grows by `add`, `redriven` and `exported` in the journal's order; children are numbered from 0 to `children`
    - 1.
    """

    def __init__(self, children: int) -> None:
        self._category = bytearray(children)
        self._attempts = array("I", bytes(4 * children))
        self._place = array("Q", bytes(8 * children))
        self._highest = 0  # number of an attempt of any child so far
        self._redrives: _Redrives | None = None
        self._written = b""

    def add(self, place: Place, outcome: Outcome) -> bool:
        """Note an outcome that stands at `place`. True when it is final, as far as the journal is read."""
        child = outcome.child
        self._highest = max(self._highest, outcome.attempt)
        if child >= len(self._category) or not self._open(child) or outcome.attempt <= self._attempts[child]:
            return False
        self._attempts[child] = outcome.attempt
        if self._redrives:
            self._redrives.outcome(child, final=outcome.retry is None)
        if outcome.retry is None:
            packed = place.segment << _LINE_BITS | place.line
            if self._redrives and not self._category[child]:
                self._redrives.first[child] = packed
            self._category[child] = _CODES[category(outcome)]
            self._place[child] = packed
        return outcome.retry is None

    def redriven(self, record: Redriven) -> None:
        """Open the children of a redrive again."""
        if self._redrives is None:
            self._redrives = _Redrives(self._place)
        for redo in record.redo.values():
            for child in IntervalSet.decode(redo.children):
                self._redrives.state[child] = _WAITS
                self._attempts[child] = self._highest

    def exported(self, record: Exported) -> None:
        """A round ended: what the redrive never came to keeps its earlier outcome, what succeeded is written."""
        if self._redrives:
            self._redrives.state = bytearray(len(self._category))
        if record.failure is None:
            self._written = bytes(self._category)

    def of(self, name: str) -> Iterator[tuple[int, Place | None]]:
        """The children of a result category in item order, each with the place of its outcome (None for a pending
        one).
        """
        code, start = _CODES[name], 0
        while (child := self._category.find(code, start)) >= 0:
            yield child, None if name == PENDING else _placed(self._place[child])
            start = child + 1

    def all(self) -> Iterator[Place]:
        """The places of all final outcomes, in item order."""
        return (_placed(self._place[child]) for child in range(len(self._category)) if self._category[child])

    def written(self, child: int) -> bool:
        """Whether the child's SUCCEEDED record lies in the files of an earlier export that succeeded."""
        return bool(self._written) and self._written[child] == _CODES[SUCCEEDED]

    def redrives(self, child: int) -> int:
        """How often a redrive has run the child again."""
        return self._redrives.counts[child] if self._redrives else 0

    def first(self, child: int) -> Place | None:
        """The place of the child's first final outcome ever, which tells when it started; None for a pending one."""
        if not self._category[child]:
            return None
        return _placed((self._redrives.first if self._redrives else self._place)[child])

    def _open(self, child: int) -> bool:
        return not self._category[child] or (self._redrives is not None and self._redrives.state[child] != _CLOSED)


class _Redrives:
    """What is kept of each child once its run is redriven: where its first final outcome stands, how often it was run
    again, and whether it waits for that or runs now.
    """

    def __init__(self, places: array[int]) -> None:
        self.first = array("Q", places)
        self.counts = array("H", bytes(2 * len(places)))  # a run is redriven at most 1,000 times
        self.state = bytearray(len(places))

    def outcome(self, child: int, *, final: bool) -> None:
        self.counts[child] += self.state[child] == _WAITS
        if self.state[child] != _CLOSED:
            self.state[child] = _CLOSED if final else _RUNS


def _placed(packed: int) -> Place:
    return Place(packed >> _LINE_BITS, packed & ((1 << _LINE_BITS) - 1))
