"""The plan of a run: the immutable, ordered list of its batches, as segments in a store (design §5).

    plan/000000.jsonl.zst    a PlanHeader, then one Batch a line; the first segments are small: children start early
    plan/end.json            totals, once reading has ended well, or why it has not
    plan/end-2.json          how it ended in redrive 2, which went on where the rounds before it had failed
    plan-3/…                 the same, read anew in redrive 3

Rule 1: a segment's header tells where the next one begins, so that a reader finds a batch with one read, and a writer
        (adapters/plan_writer.py) goes on without reading the batches again.
Rule 2: reading that ended well, in whatever round, ended for good. Why it failed is told only in its own round, so that
        the next redrive tries again.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from maprun.adapters.segments import BytesCache, decompress, first_line
from maprun.core.scheduling import PlanView
from maprun.errors import Failure, NotFound, StoreError
from maprun.ports import Store
from maprun.records import Batch, PlanHeader, PlanSeal

CACHE_BYTES: Final = 16 << 20  # some three full segments

T = TypeVar("T")


class Round(NamedTuple):
    """Where a run is in its life: the number of its redrive, and of the redrive that read the dataset anew (0: the
    first life, the first reading).
    """

    redrive: int = 0
    plan: int = 0

    @property
    def folder(self) -> str:
        """Where the plan's keys lie."""
        return f"plan-{self.plan}/" if self.plan else "plan/"

    @property
    def end(self) -> str:
        """Key of how reading ended in this round."""
        return f"{self.folder}end-{self.redrive}.json" if self.redrive else f"{self.folder}end.json"

    def segment(self, number: int) -> str:
        """Key of the plan's segment, counted from 0."""
        return f"{self.folder}{number:06}.jsonl.zst"


FIRST: Final = Round()


class PlanEnd(msgspec.Struct, frozen=True, omit_defaults=True):
    """How reading ended: one of the two."""

    seal: PlanSeal | None = None
    failure: Failure | None = None


_header = msgspec.json.Decoder(PlanHeader)
_batch = msgspec.json.Decoder(Batch)
_end = msgspec.json.Decoder(PlanEnd)


class PlanReader:
    """Reads a plan as `at` has it, also one that is still written. Thread-safe; blocks on the store."""

    def __init__(self, store: Store, cache_bytes: int = CACHE_BYTES, at: Round = FIRST) -> None:
        self._store, self._cache_bytes = store, cache_bytes
        self._lock = threading.Lock()
        self.enter(at)

    def enter(self, at: Round) -> None:
        """Forget everything, and read the plan as `at` has it. Does not block."""
        self._at = at
        self._headers: list[PlanHeader] = []
        self._starts: list[int] = []  # first child of each segment
        self._over: set[str] = set()  # ends that are known
        self._end: PlanEnd | None = None
        self._cache: BytesCache[int, list[bytes]] = BytesCache(self._cache_bytes)

    def view(self) -> PlanView:
        """How far the plan is now. Costs a listing and the headers of new segments; nothing once it has ended."""
        with self._lock:
            if self._end is None and not self._refreshed():
                self._refreshed(final=True)
            last, end = self.last, self._end or PlanEnd()
            children, items = (last.first_child + last.children, last.first_item + last.items) if last else (0, 0)
            return PlanView(children, items, end.seal, end.failure)

    @property
    def last(self) -> PlanHeader | None:
        """Header of the last segment that `view` has seen."""
        return self._headers[-1] if self._headers else None

    def at_hand(self, index: int) -> bool:
        """True when `batch` would answer from memory."""
        last = self.last
        known = last is not None and 0 <= index < last.first_child + last.children
        return known and bisect_right(self._starts, index) - 1 in self._cache

    def batch(self, index: int) -> Batch:
        """The batch of a child (from 0). `NotFound` when the plan has no such child (yet)."""
        last = self.last
        if last is None or not 0 <= index < last.first_child + last.children:
            known = self.view().children
            if not 0 <= index < known:
                raise NotFound(f"plan: there is no child {index}, it has {known} so far")
        number = bisect_right(self._starts, index) - 1
        line = self._cache.get(number, self._load)[1 + index - self._starts[number]]
        return _batch.decode(line)

    def batches(self) -> Iterator[Batch]:
        """All batches that are durable now, in order."""
        self.view()
        for number in range(len(self._headers)):
            yield from map(_batch.decode, self._load(number)[0][1:-1])

    def _refreshed(self, final: bool = False) -> bool:
        """Learn what is new. False when a segment seems to be missing; in the `final` try that is an error.

        A directory that is listed while it grows may show a later file without an earlier one.
        """
        at, ends = self._at, []
        behind = at.segment(len(self._headers) - 1) if self._headers else ""
        for info in self._store.list(at.folder, start_after=behind):
            if info.key == at.segment(len(self._headers)):
                self._learn(self._read_header(info.key))
            elif info.key.startswith(f"{at.folder}end"):
                ends.append(info.key)
            elif final:
                raise StoreError(f"plan: segment {len(self._headers)} is missing, the next key is {info.key}")
            else:
                return False
        return all(self._ended(key, final) for key in ends if key not in self._over)

    def _ended(self, key: str, final: bool) -> bool:
        """Learn how reading ended in one round."""
        end = _decoded(key, self._store.read(key), _end)
        if end.seal and end.seal.segments != len(self._headers):
            if final:
                raise StoreError(f"plan: {len(self._headers)} segments are there, {end.seal.segments} were written")
            return False
        if end.seal or (key == self._at.end and self._end is None):
            self._end = end
        self._over.add(key)
        return True

    def _learn(self, header: PlanHeader) -> None:
        self._starts.append(header.first_child)
        self._headers.append(header)  # last: what it holds can be found by then, by whoever reads meanwhile

    def _read_header(self, key: str) -> PlanHeader:
        """The first line, from the first chunks of the object."""
        reading = self._store.open(key)
        try:
            return _decoded(key, first_line(key, reading), _header)
        finally:
            reading.close()

    def _load(self, number: int) -> tuple[list[bytes], int]:
        key = self._at.segment(number)
        data = decompress(key, self._store.read(key))
        return data.split(b"\n"), len(data)


def _decoded(key: str, data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise StoreError(f"{key}: damaged: {error}") from error
