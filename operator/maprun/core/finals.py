"""Where in the journal each child's final outcome stands, so that results can be written in item order.

Rule 1: the same outcome is final here and in core/progress.py: the first one without a retry, of an attempt that was
        not settled before.
Rule 2: 13 bytes a child and nothing else, whatever the outcomes hold.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from maprun.core.results import CATEGORIES, PENDING, category
from maprun.records import Outcome

_CODES: Final = {name: code for code, name in enumerate(sorted(CATEGORIES, key=lambda name: name != PENDING))}
_LINE_BITS: Final = 24


class Place(NamedTuple):
    """A record in the journal: its segment's number and its line in it, both from 0 or more."""

    segment: int
    line: int


class Finals:
    """Grows by `add` in the journal's order; children are numbered from 0 to `children` - 1."""

    def __init__(self, children: int) -> None:
        self._category = bytearray(children)
        self._attempts = array("I", bytes(4 * children))
        self._place = array("Q", bytes(8 * children))

    def add(self, place: Place, outcome: Outcome) -> None:
        """Note an outcome that stands at `place`."""
        child = outcome.child
        if child >= len(self._category) or self._category[child] or outcome.attempt <= self._attempts[child]:
            return
        self._attempts[child] = outcome.attempt
        if outcome.retry is None:
            self._category[child] = _CODES[category(outcome)]
            self._place[child] = place.segment << _LINE_BITS | place.line

    def of(self, name: str) -> Iterator[tuple[int, Place | None]]:
        """The children of a result category in item order, each with the place of its outcome (None for a pending
        one).
        """
        code, start = _CODES[name], 0
        while (child := self._category.find(code, start)) >= 0:
            yield child, None if name == PENDING else self._placed(child)
            start = child + 1

    def all(self) -> Iterator[Place]:
        """The places of all final outcomes, in item order."""
        return (self._placed(child) for child in range(len(self._category)) if self._category[child])

    def _placed(self, child: int) -> Place:
        packed = self._place[child]
        return Place(packed >> _LINE_BITS, packed & ((1 << _LINE_BITS) - 1))
