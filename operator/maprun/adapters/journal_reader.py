"""Reading a journal: its segments in order for a replay, and any of them again for the results.

Rule 1: what cannot be decoded, or is missing between two others, is an error; nothing is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import structs

from maprun.adapters.segments import BytesCache, decompress
from maprun.errors import StoreError, StoreUnavailable
from maprun.ports import Store
from maprun.records import NOTHING, Exported, Outcome, Record

CACHE_BYTES: Final = 64 << 20  # uncompressed size of the segments that are kept decoded

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def segment_key(number: int) -> str:
    """Key of the journal's segment, counted from 1."""
    return f"journal/{number:08}.jsonl.zst"


def snapshot_key(through: int) -> str:
    """Key of the snapshot that holds the fold of segments 1 to `through`."""
    return f"snapshots/{through:08}.json.zst"


def encode_line(record: Record) -> bytes:
    """The record as one line; an output that was written over several lines is made compact."""
    if isinstance(record, Outcome | Exported) and not record.output:
        record = structs.replace(record, output=NOTHING)
    line = _encoder.encode(record)
    return (msgspec.json.format(line, indent=-1) if b"\n" in line else line) + b"\n"


class JournalReader:
    """Reads a journal, also one that is still written. Thread-safe; blocks.

    `cache_bytes` bounds the decoded segments kept.
    """

    def __init__(self, store: Store, cache_bytes: int = CACHE_BYTES) -> None:
        self._store = store
        self._cache: BytesCache[int, list[Record]] = BytesCache(cache_bytes)

    def segment(self, number: int) -> list[Record]:
        """All records of one segment, in order.

        `NotFound` when it is not there, `StoreError` when it cannot be decoded.
        """
        return self._cache.get(number, self._load)

    def numbers(self, first: int = 1) -> Iterator[int]:
        """Numbers of the segments from `first` on. `StoreError` when one is missing in between."""
        expected = first
        for info in self._store.list("journal/", start_after=segment_key(first - 1)):
            if info.key != segment_key(expected):
                raise StoreError(f"journal: segment {expected} is missing, the next key is {info.key}")
            yield expected
            expected += 1

    def records_from(self, segment: int = 1) -> Iterator[tuple[int, int, Record]]:
        """Every record as (segment, line, record), lines counted from 0, without filling the cache."""
        for number in self.numbers(segment):
            for line, record in enumerate(self.load(number)):
                yield number, line, record

    def snapshots(self) -> Iterator[tuple[int, bytes]]:
        """(through, data) of the snapshots, newest first; one that cannot be read is left out."""
        for info in sorted(self._store.list("snapshots/"), key=lambda info: info.key, reverse=True):
            try:
                yield int(info.key[len("snapshots/") :].split(".")[0]), decompress(info.key, self._store.read(info.key))
            except StoreUnavailable:
                raise
            except (StoreError, ValueError):
                continue

    def load(self, number: int) -> list[Record]:
        """As `segment`, past the cache."""
        return self._load(number)[0]

    def _load(self, number: int) -> tuple[list[Record], int]:
        key = segment_key(number)
        data = decompress(key, self._store.read(key))
        try:
            return _decoder.decode_lines(data), len(data)
        except msgspec.DecodeError as error:
            raise StoreError(f"{key}: not a journal segment ({error})") from error
