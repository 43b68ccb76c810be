"""Writes the plan of a run (adapters/plans.py), segment behind segment.

Rule 1: where a segment ends depends on its number and batches alone: whoever reads the same items makes the same bytes.
        Reading that fails ends its last segment early; the next redrive goes on behind that.
Rule 2: everything is created only if absent, one segment behind the other. The same bytes are adopted; others are those
        of another writer: `Fenced`.
Rule 3: the first segments are durable when `add` returns, so that children start early. Later ones are compressed and
        written on a thread while the next one fills, one at a time.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import msgspec
from msgspec import structs

from maprun.adapters.plans import FIRST, PlanEnd, PlanReader, Round
from maprun.adapters.segments import compress
from maprun.core.scheduling import PlanView
from maprun.errors import AlreadyExists, Failure, Fenced
from maprun.ports import Store
from maprun.records import PlanHeader, PlanSeal

FIRST_BATCHES: Final = (100, 1_000)  # batches in the first segments
BATCHES: Final = 20_000  # in each later one, at most
SEGMENT_BYTES: Final = 4 << 20  # uncompressed; a segment ends with the line that reaches it

_encode = msgspec.json.encode


class PlanWriter:
    """Goes on behind the segments that are durable already. Blocks on the store; not thread-safe. To be closed. `at` is
    the round whose plan it is.

    `view` is what is durable; `source`, the dataset's fingerprint, and `resume`, the reader's bookmark, are where
    reading goes on. Errors of a segment may come from the call behind the one that filled it.
    """

    def __init__(
        self, store: Store, first_batches: tuple[int, ...] = FIRST_BATCHES, batches: int = BATCHES, at: Round = FIRST
    ) -> None:
        reader = PlanReader(store, at=at)
        self.view = reader.view()
        last = reader.last
        self.source = last.source if last else ""
        self.resume = last.behind if last else ""
        self._store, self._at = store, at
        self._first_batches, self._batches = first_batches, batches
        self._open = PlanHeader(last.segment + 1 if last else 0, self.view.children, self.view.items)
        self._lines: list[bytes] = []
        self._size = self._items = 0
        self._behind = self.resume
        self._worker = ThreadPoolExecutor(1, "plan")
        self._writing: tuple[PlanHeader, Future[None]] | None = None

    def close(self) -> None:
        """Wait for what is being written."""
        self._worker.shutdown()

    @property
    def next_child(self) -> int:
        """Index of the batch to be added next."""
        return self._open.first_child + len(self._lines)

    def add(self, items: int, batch: bytes, behind: str) -> bool:
        """Append the next child: how many items are in it, its input as JSON, and the reader's bookmark behind them.

        True when a segment became durable since the last call.
        """
        line = b"[%d,%d,%b]\n" % (self.next_child, items, batch)  # a `Batch`, as msgspec would write it
        self._lines.append(line)
        self._size += len(line)
        self._items += items
        self._behind = behind
        told = self._writing is not None and self._writing[1].done() and self._settle()
        full = len(self._lines) >= self._limit or self._size >= SEGMENT_BYTES
        return self._flush() or told if full else told

    def seal(self) -> PlanSeal:
        """End the plan well, with what was added last."""
        if self._lines:
            self._flush()
        self._settle()
        seal = PlanSeal(self.view.children, self.view.items, self._open.segment)
        self._create(self._at.end, _encode(PlanEnd(seal=seal)))
        self.view = structs.replace(self.view, seal=seal)
        return seal

    def fail(self, failure: Failure) -> None:
        """End the plan badly, behind what was added last: what is planned is counted; every later reader of this
        round sees this failure.
        """
        if self._lines:
            self._flush()
        self._settle()
        self._create(self._at.end, _encode(PlanEnd(failure=failure)))
        self.view = structs.replace(self.view, failure=failure)

    @property
    def _limit(self) -> int:
        number = self._open.segment
        return self._first_batches[number] if number < len(self._first_batches) else self._batches

    def _flush(self) -> bool:
        """Write the open segment, and open the next one. True when one became durable."""
        told = self._settle()
        header = structs.replace(
            self._open,
            source=self.source,
            resume=self.resume,
            children=len(self._lines),
            items=self._items,
            behind=self._behind,
        )
        self._writing = header, self._worker.submit(self._segment, header, self._lines)
        self._open = PlanHeader(header.segment + 1, self.next_child, header.first_item + header.items)
        self.resume = header.behind
        self._lines, self._size, self._items = [], 0, 0
        return (header.segment < len(self._first_batches) and self._settle()) or told

    def _settle(self) -> bool:
        """Wait for the segment that is being written, if one is."""
        if self._writing is None:
            return False
        (header, written), self._writing = self._writing, None
        written.result()
        self.view = PlanView(header.first_child + header.children, header.first_item + header.items)
        return True

    def _segment(self, header: PlanHeader, lines: list[bytes]) -> None:
        self._create(self._at.segment(header.segment), compress(b"".join([_encode(header), b"\n", *lines])))

    def _create(self, key: str, data: bytes) -> None:
        try:
            self._store.create(key, data)
        except AlreadyExists as error:
            raise Fenced(f"{key} was written by another planner, from other data; this one must stop") from error
