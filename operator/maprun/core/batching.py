"""Items to the inputs of children: one item each, or batches (`aws-distributed-map.md` §2.4).

Rule 1: batches are greedy. One closes when it holds as many items as it may, or when the next item would make its input
        too large; never before. The last one may be smaller.
Rule 2: the input of a batch is {"BatchInput":…,"Items":[…]}, also around a single item, without BatchInput when there
        is none. Its bytes are counted whole, envelope and BatchInput included (§11 leaves that open), because a whole
        input is what a child receives.
Rule 3: an item that is too large by itself fails the run with States.DataLimitExceeded, behind all batches before it.
Rule 4: each batch tells the reader's bookmark behind its last item: reading that goes on there makes the same batches.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, count
from operator import add
from typing import Any, Final, Protocol

import msgspec

from maprun.core import nesting
from maprun.errors import RunFailed, StatesError
from maprun.fields import PAYLOAD_LIMIT
from maprun.model_processing import ItemBatcher

FIELD: Final = "spec.itemBatcher"
ADVICE: Final = "Let spec.itemSelector pick what the child needs."
END: Final = b"]}"


class Batched(msgspec.Struct, frozen=True, gc=False):
    """The input of one child as JSON, how many items are in it, and the reader's bookmark behind the last of them."""

    items: int
    input: bytes
    behind: str


class Batching(Protocol):
    """Takes items in order, gives the inputs of children in order.

    `items` are compact JSON; `behind` is the bookmark behind each of them, one string when it is the same for all.
    `RunFailed` with States.DataLimitExceeded comes from iterating, behind the batches before the item.
    """

    def add(self, items: Sequence[bytes], behind: str | Sequence[str]) -> Iterator[Batched]:
        """What these items complete. Iterate to the end before the next call."""

    def finish(self) -> Iterator[Batched]:
        """What is left when there are no more items."""


def batching(batcher: ItemBatcher | None, first: int = 0) -> Batching:
    """The batching of a resolved spec. `first` is the index of the next item in the whole dataset."""
    if batcher is None:
        return Single(first)
    most, size = batcher.max_items_per_batch, batcher.max_input_bytes_per_batch
    assert not isinstance(most, str), "the spec is not resolved"
    assert not isinstance(size, str), "the spec is not resolved"
    return Batcher(most, size, batcher.batch_input, first)


class Single:
    """Without an item batcher: each child gets the item itself."""

    def __init__(self, first: int = 0) -> None:
        self._next = first

    def add(self, items: Sequence[bytes], behind: str | Sequence[str]) -> Iterator[Batched]:
        """See `Batching`."""
        for at, item in enumerate(items):
            if len(item) > PAYLOAD_LIMIT:
                raise _too_large(f"The input of the child execution for item {self._next + at}", len(item))
            yield Batched(1, item, behind if isinstance(behind, str) else behind[at])
        self._next += len(items)

    def finish(self) -> Iterator[Batched]:
        """Nothing: no item waits for another one."""
        return iter(())


class Batcher:
    """Batches of at most `most` items (None: any number) and `size` bytes of input (None: 256 KiB)."""

    def __init__(self, most: int | None, size: int | None, batch_input: Any = None, first: int = 0) -> None:
        self._most, self._size = most, size
        given = b"" if batch_input is None else nesting.bounded(msgspec.json.encode(batch_input))
        self._given = len(given)
        self._start = b'{"BatchInput":%b,"Items":[' % given if given else b'{"Items":['
        self._room = min(size or PAYLOAD_LIMIT, PAYLOAD_LIMIT) - len(self._start) - len(END) + 1  # one comma too many
        self._next = first
        self._waiting: list[bytes] = []
        self._used = 0  # bytes of what waits, a comma behind each item
        self._behind = ""

    def add(self, items: Sequence[bytes], behind: str | Sequence[str]) -> Iterator[Batched]:
        """See `Batching`."""
        ends = list(map(add, accumulate(map(len, items), initial=0), count()))  # bytes of the items before, with commas
        at = 0
        while True:
            upto = self._fitting(ends, at)
            if upto > at:
                self._take(items[at:upto], ends[upto] - ends[at])
                self._behind = behind if isinstance(behind, str) else behind[upto - 1]
                at = upto
            if at == len(items) and len(self._waiting) != self._most:
                return
            if not self._waiting:
                raise self._failed(items[at])
            yield self._closed()

    def finish(self) -> Iterator[Batched]:
        """See `Batching`."""
        if self._waiting:
            yield self._closed()

    def _fitting(self, ends: list[int], at: int) -> int:
        """Up to which item the open batch can take those from `at` on."""
        known = len(ends) - 1
        most = known if self._most is None else min(known, at + self._most - len(self._waiting))
        return bisect_right(ends, self._room - self._used + ends[at], at, most + 1) - 1

    def _take(self, items: Sequence[bytes], size: int) -> None:
        self._waiting += items
        self._used += size
        self._next += len(items)

    def _closed(self) -> Batched:
        text = b"".join((self._start, b",".join(self._waiting), END))
        batched = Batched(len(self._waiting), text, self._behind)
        self._waiting, self._used = [], 0
        return batched

    def _failed(self, item: bytes) -> RunFailed:
        whole = len(self._start) + len(item) + len(END)
        given = f", BatchInput {self._given}" if self._given else ""
        what = f"Item {self._next} has {len(item)} bytes{given}. Alone in a batch, its input"
        return _too_large(what, whole, self._size if self._size and self._size < PAYLOAD_LIMIT else None)


def _too_large(what: str, size: int, limit: int | None = None) -> RunFailed:
    allowed = f"at most {PAYLOAD_LIMIT} are allowed. {ADVICE}"
    if limit is not None:
        allowed = f"{FIELD}.maxInputBytesPerBatch allows {limit}."
    return RunFailed(StatesError.DATA_LIMIT_EXCEEDED, f"{what} has {size} bytes; {allowed}")
