"""Sets of non-negative integers as sorted, disjoint, half-open ranges: which children have ended, in a few numbers.

Rule 1: an `IntervalSet` is a value. It never changes; an operation gives a new one.
Rule 2: one flat array holds all bounds, start and stop in turn, strictly increasing. A number is a member if and
        only if an odd number of bounds lies at or below it; everything here follows from that.
Rule 3: a bulk add or removal costs O(k log n) for k runs of numbers, plus one block copy of the bounds. It never loops
        over them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

_BOUND: Final = "q"  # 64-bit signed: a bound is at most one more than the largest member


class IntervalSet:
    """An immutable set of non-negative integers below 2**63 - 1. `in` is O(log n) and `len` O(1), for n ranges."""

    __slots__ = ("_bounds", "_size")

    def __init__(self, members: Iterable[int] = ()) -> None:
        self._bounds, self._size = _with_runs(array(_BOUND), 0, _runs(members))

    @classmethod
    def _of(cls, bounds: array[int], size: int) -> IntervalSet:
        new = cls.__new__(cls)
        new._bounds, new._size = bounds, size
        return new

    @classmethod
    def of_runs(cls, runs: Iterable[tuple[int, int]]) -> IntervalSet:
        """The set of (start, stop) pairs in increasing order, no two of which overlap or touch."""
        return cls._of(*_with_runs(array(_BOUND), 0, runs))

    def with_all(self, members: Iterable[int]) -> IntervalSet:
        """This set and `members` (any order, repeats allowed). ValueError for a negative number."""
        return self._of(*_with_runs(self._bounds, self._size, _runs(members)))

    def union(self, other: IntervalSet) -> IntervalSet:
        """The members of either."""
        few, many = sorted((self, other), key=lambda each: len(each._bounds))
        return self._of(*_with_runs(many._bounds, many._size, few._pairs()))

    def minus(self, other: IntervalSet) -> IntervalSet:
        """The members of this set that are not in the other."""
        return self._of(*_with_runs(self._bounds, self._size, other._pairs(), members=False))

    def both(self, other: IntervalSet) -> IntervalSet:
        """The members that are in both."""
        few, many = sorted((self, other), key=lambda each: len(each._bounds))
        return few.minus(few.minus(many))

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and bisect_right(self._bounds, number) % 2 == 1

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        for each in self.ranges:
            yield from each

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IntervalSet) and self._bounds == other._bounds

    def __hash__(self) -> int:
        return hash(self._bounds.tobytes())

    def __repr__(self) -> str:
        return f"IntervalSet({self.encode()!r})"

    def _pairs(self) -> Iterator[tuple[int, int]]:
        bounds = iter(self._bounds)
        return zip(bounds, bounds, strict=True)

    @property
    def ranges(self) -> Iterator[range]:
        """The ranges in increasing order; no two of them touch."""
        return (range(start, stop) for start, stop in self._pairs())

    def gaps(self, stop: int, start: int = 0) -> Iterator[range]:
        """The ranges of numbers in [start, stop) that are not members, in increasing order. O(log n) to the first."""
        at = bisect_right(self._bounds, start)
        if at % 2 == 1:  # `start` is a member: the first gap begins where its range stops
            start, at = self._bounds[at], at + 1
        while start < stop:
            end = self._bounds[at] if at < len(self._bounds) else stop
            yield range(start, min(end, stop))
            start, at = (self._bounds[at + 1], at + 2) if at < len(self._bounds) else (stop, at)

    def missing(self, stop: int, start: int = 0) -> Iterator[int]:
        """The numbers in [start, stop) that are not members, in increasing order."""
        for gap in self.gaps(stop, start):
            yield from gap

    def encode(self) -> str:
        """The set as text, for snapshots: `0-99,101`; the empty set is the empty string."""
        return ",".join(f"{start}-{stop - 1}" if stop - start > 1 else str(start) for start, stop in self._pairs())

    @classmethod
    def decode(cls, text: str) -> IntervalSet:
        """The set that `encode` wrote as `text`. ValueError for anything that `encode` never writes."""
        bounds = array(_BOUND)
        for part in text.split(",") if text else ():
            first, _, last = part.partition("-")
            bounds.extend((int(first), int(last or first) + 1))
        decoded = cls._of(bounds, sum(bounds[1::2]) - sum(bounds[::2]))
        if any(low >= high for low, high in pairwise(bounds)) or decoded.encode() != text:
            raise ValueError(f"not the text of an interval set: {text[:80]!r}")
        return decoded


def _runs(members: Iterable[int]) -> Iterator[tuple[int, int]]:
    """`members` as increasing, disjoint (start, stop) pairs."""
    if isinstance(members, range) and members.step == 1:
        if members:
            yield members.start, members.stop
        return
    numbers = sorted(members)
    first = 0
    for at in range(1, len(numbers) + 1):
        if at == len(numbers) or numbers[at] > numbers[at - 1] + 1:
            yield numbers[first], numbers[at - 1] + 1
            first = at


def _with_runs(
    bounds: array[int], size: int, runs: Iterable[tuple[int, int]], *, members: bool = True
) -> tuple[array[int], int]:
    """Bounds and number of members once increasing `runs` are members, or are not; `bounds` itself stays as it is."""
    new, copied = array(_BOUND), 0
    for start, stop in runs:
        if start < 0:
            raise ValueError(f"an interval set holds no negative number: {start}")
        # Bounds from `low` up to `high` lie on or inside the run and go away. A range that is cut by an end of the run
        # (an odd count of bounds lies before that end) is joined to members and ends or begins at others.
        low = bisect_left(bounds, start, copied)
        high = bisect_right(bounds, stop, low)
        new.extend(bounds[copied:low])
        inside = [*[start] * (low % 2), *bounds[low:high], *[stop] * (high % 2)]
        size += (stop - start) * members - (sum(inside[1::2]) - sum(inside[::2]))
        new.extend([start] * (low % 2 != members) + [stop] * (high % 2 != members))
        copied = high
    new.extend(bounds[copied:])
    return new, size
