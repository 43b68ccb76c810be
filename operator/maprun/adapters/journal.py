"""The journal: the append-only record of a run, in numbered segments. All progress is a fold over it (design §5).

    journal/00000001.jsonl.zst    records, one JSON a line; the numbers have no gap
    snapshots/00000256.json.zst   the fold of segments 1 to 256, opaque to this module

Rule 1: a segment is created only if absent. Of two writers one creates it; the other is `Fenced` and stops for good.
Rule 2: what `append` accepted is written in the order of acceptance, or the journal ends; nothing is skipped.
Rule 3: an append is done when its segment is durable; many appends share one segment (group commit).
Rule 4: segments are never changed or removed while the run lives; snapshots only shorten the replay.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import msgspec

from maprun.adapters.journal_reader import JournalReader, encode_line, segment_key, snapshot_key
from maprun.adapters.patience import pause
from maprun.adapters.segments import compress
from maprun.errors import AlreadyExists, Fenced, StoreError, StoreUnavailable
from maprun.ports import UNOBSERVED, Observer, Store
from maprun.records import Opened, Record

__all__ = ["Journal", "JournalReader"]

FLUSH_SECONDS: Final = 0.1  # longest time the first record of a segment waits for company
FLUSH_BYTES: Final = 4 << 20  # uncompressed size at which a segment is written at once
SNAPSHOT_EVERY: Final = 256  # segments
TAKEOVERS: Final = 20  # tries to write the opening record, when others open too
PATIENCE: Final = 15.0  # longest pause between two tries, seconds

T = TypeVar("T")


class _Append(msgspec.Struct, frozen=True):
    data: bytes
    records: int
    durable: asyncio.Future[int]


class Journal:
    """The one writer of a run's journal: `async for records in journal.open(…)` to its end, `append`, at last `close`.

    Made for one event loop; the store is called in threads. `on_trouble` gets a message when the store cannot be
    written, and "" when it can again. Times in seconds, sizes in bytes.
    """

    def __init__(
        self,
        store: Store,
        *,
        flush_seconds: float = FLUSH_SECONDS,
        flush_bytes: int = FLUSH_BYTES,
        snapshot_every: int = SNAPSHOT_EVERY,
        on_trouble: Callable[[str], None] = lambda message: None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.reader = JournalReader(store)
        self.last = 0  # number of the newest durable segment
        self._store = store
        self._flush_seconds = flush_seconds
        self._flush_bytes = flush_bytes
        self._snapshot_every = snapshot_every
        self._on_trouble = on_trouble
        self._observer = observer
        self._snapshot = 0  # segments covered by the newest snapshot
        self._waiting: list[_Append] = []
        self._size = 0  # bytes of _waiting
        self._due = 0.0  # loop time at which _waiting is written at the latest
        self._wake = asyncio.Event()
        self._closing = False
        self._ended: Exception | None = None  # why nothing can be written any more
        self._pump: asyncio.Task[None] | None = None

    async def open(
        self, writer: str, at: float, restore: Callable[[bytes], bool] = lambda data: False
    ) -> AsyncGenerator[list[Record]]:
        """Replay, then take the journal over: yields each segment's records in order, at last our own `Opened`.

        `restore` is offered the snapshots, newest first, in a thread, until it returns True; the replay begins behind
        that one.
        When another operator takes over at the same time, its records are replayed too, and we try again; `Fenced`
        when that never ends. Raises the store's errors, but waits while it is unavailable.
        """
        self.last = self._snapshot = await self._restored(restore)
        for _ in range(TAKEOVERS):
            async for records in self._replayed():
                yield records
            opened = Opened(writer, at)
            with suppress(AlreadyExists):
                await self._create([encode_line(opened)], StoreUnavailable)
                self._pump = asyncio.create_task(self._run(), name="journal")
                yield [opened]
                return
        raise Fenced("journal: other operators keep taking it over; is more than one operator running for this run?")

    def append(self, records: Sequence[Record]) -> asyncio.Future[int]:
        """Write records, all in one segment; the future gives its number once it is durable. Futures resolve in order.

        Raises `Fenced` when another operator has taken the journal over, then and from then on.
        """
        if self._ended is not None:
            raise self._ended
        if self._pump is None or self._closing:
            raise RuntimeError("the journal is not open")
        loop = asyncio.get_running_loop()
        entry = _Append(b"".join(map(encode_line, records)), len(records), loop.create_future())
        self._observer.journal_queued(entry.records)
        self._size += len(entry.data)
        self._waiting.append(entry)
        if len(self._waiting) == 1:
            self._due = loop.time() + self._flush_seconds
            self._wake.set()
        elif self._size >= self._flush_bytes:
            self._wake.set()
        return entry.durable

    @property
    def snapshot_due(self) -> bool:
        """True when enough segments lie behind the newest snapshot."""
        return self.last - self._snapshot >= self._snapshot_every

    async def snapshot(self, through: int, fold: Callable[[], bytes]) -> None:
        """Keep the fold of exactly the segments 1 to `through`, as `fold` gives it in a thread. The newest two stay.

        A snapshot only saves time: when the store refuses it, the next is due after as many segments again.
        """
        self._snapshot = through
        with suppress(StoreError):
            await asyncio.to_thread(self._keep, through, fold)

    async def close(self) -> None:
        """Write what waits, then stop. Lasts while the store is away; cancelled, it gives up what is not durable."""
        self._closing = True
        self._wake.set()
        if self._pump is not None:
            await self._pump

    async def _restored(self, restore: Callable[[bytes], bool]) -> int:
        snapshots = await self._insist(lambda: list(self.reader.snapshots()), StoreUnavailable)
        return await asyncio.to_thread(lambda: next((through for through, data in snapshots if restore(data)), 0))

    async def _replayed(self) -> AsyncGenerator[list[Record]]:
        for number in await self._insist(lambda: list(self.reader.numbers(self.last + 1)), StoreUnavailable):
            records = await self._insist(partial(self.reader.load, number), StoreUnavailable)
            self.last = number
            yield records

    async def _run(self) -> None:
        try:
            while await self._filled():
                await self._flush()
        except AlreadyExists:
            self._ended = Fenced(f"journal: segment {self.last + 1} was written by another operator; this one stops")
        except Exception as error:
            self._ended = error
        finally:
            for entry in self._waiting:
                self._observer.journal_queued(-entry.records)
                _settle(entry.durable, self._ended)

    async def _filled(self) -> bool:
        """Wait until a segment is to be written; False when closing and nothing is left."""
        loop = asyncio.get_running_loop()
        while not self._closing and self._size < self._flush_bytes:
            left = self._due - loop.time() if self._waiting else None
            if left is not None and left <= 0:
                break
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left)
        return bool(self._waiting)

    async def _flush(self) -> None:
        """Write one segment of what waits; entries leave the queue once they are durable."""
        count, size = 0, 0
        while count < len(self._waiting) and size < self._flush_bytes:
            size += len(self._waiting[count].data)
            count += 1
        done = self._waiting[:count]
        # Refusals may pass, too (a renewed Secret, a restored permission); giving up would lose what children did.
        began = asyncio.get_running_loop().time()
        await self._create([entry.data for entry in done], StoreError)
        records = sum(entry.records for entry in done)
        self._observer.journal_flushed(asyncio.get_running_loop().time() - began, records)
        self._observer.journal_queued(-records)
        del self._waiting[:count]
        self._size -= size
        for entry in done:
            _settle(entry.durable, self.last)

    async def _create(self, lines: list[bytes], lasting: type[StoreError]) -> None:
        number = self.last + 1
        await self._insist(lambda: self._write(segment_key(number), b"".join(lines)), lasting)
        self.last = number

    def _write(self, key: str, data: bytes) -> None:
        try:
            self._store.create(key, compress(data))
        except AlreadyExists:  # an answer, too
            raise
        except StoreError:
            self._observer.journal_failed()
            raise

    async def _insist(self, call: Callable[[], T], lasting: type[StoreError]) -> T:
        """Call in a thread until it does not raise `lasting`; `AlreadyExists` is an answer, not trouble."""
        for attempt in itertools.count():
            try:
                result = await asyncio.to_thread(call)
            except AlreadyExists:
                raise
            except lasting as error:
                self._on_trouble(str(error))
                await asyncio.sleep(pause(attempt, PATIENCE))
            else:
                if attempt:
                    self._on_trouble("")
                return result
        raise AssertionError("unreachable")

    def _keep(self, through: int, fold: Callable[[], bytes]) -> None:
        with suppress(AlreadyExists):  # an earlier operator's fold of the same segments
            self._store.create(snapshot_key(through), compress(fold()))
        for info in sorted(self._store.list("snapshots/"), key=lambda info: info.key)[:-2]:
            self._store.delete(info.key)


def _settle(future: asyncio.Future[int], result: int | Exception | None) -> None:
    """Give a waiting append its answer: the segment, or why there is none. None: the writer was cancelled."""
    if future.done():
        return
    if isinstance(result, int):
        future.set_result(result)
    elif result is None:
        future.cancel()
    else:
        future.set_exception(result)
        future.exception()  # whoever did not wait learns it from the next append
