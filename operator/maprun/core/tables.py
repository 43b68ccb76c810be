"""Rows of values under the same names: objects that are made only where somebody looks at one.

Rule 1: a table is for reading what a list of dicts would tell. What only writes its rows, or picks columns, makes no
        dicts: they are most of the cost of reading CSV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat, starmap
from operator import itemgetter
from typing import Any, overload

import msgspec


class Table(Sequence[dict[str, Any]]):
    """`rows` of cells under `names`, which differ from each other. A row is never shorter; what it has more is left
    out.
    """

    __slots__ = ("names", "rows")

    def __init__(self, names: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
        self.names, self.rows = names, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(dict, map(zip, repeat(self.names), self.rows))

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Table: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | Table:
        if isinstance(at, slice):
            return Table(self.names, self.rows[at])
        return dict(zip(self.names, self.rows[at], strict=False))

    def column(self, name: str) -> Iterable[Any]:
        """The cells under a name. `LookupError` when there is none."""
        if name not in self.names:
            raise LookupError(name)
        return map(itemgetter(self.names.index(name)), self.rows)

    def written(self) -> Iterable[Any]:
        """For msgspec: what is written as the same JSON as the rows."""
        make = _maker(self.names)
        if make is None:
            return self
        size = len(self.names)
        even = max(map(len, self.rows), default=size) == size
        return starmap(make, self.rows if even else (row[:size] for row in self.rows))


@lru_cache(maxsize=8)
def _maker(names: tuple[str, ...]) -> Callable[..., Any] | None:
    """A struct of these fields, None when a name is one that msgspec cannot write."""
    fields = {f"cell{number}": name for number, name in enumerate(names)}
    try:
        return msgspec.defstruct("Row", [(field, Any) for field in fields], rename=fields, gc=False)
    except ValueError:
        return None
