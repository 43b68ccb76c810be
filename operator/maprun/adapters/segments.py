"""What journal and plan have in common: compressed segments, and a cache of decoded ones bounded by bytes.

Rule 1: the same bytes always compress to the same bytes, so that a repeated write of a segment is recognised as such.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

import zstandard

from maprun.errors import StoreError

LEVEL: Final = 3
LARGEST: Final = 1 << 30  # bytes; more is no segment of ours

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def compress(data: bytes) -> bytes:
    """One zstd frame with size and checksum, made on one thread: deterministic."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True).compress(data)


def decompress(key: str, data: bytes) -> bytes:
    """The bytes of a frame. `StoreError`, naming `key`, when it is damaged."""
    try:
        size = zstandard.frame_content_size(data)
        if not 0 <= size <= LARGEST:
            raise StoreError(f"{key}: damaged: it claims to hold {size} bytes")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=LARGEST)
    except zstandard.ZstdError as error:
        raise StoreError(f"{key}: damaged: {error}") from error


def first_line(key: str, chunks: Iterable[bytes]) -> bytes:
    """The frame's first line, reading no more chunks than it needs. `StoreError`, naming `key`, when there is none."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    line = b""
    try:
        for chunk in chunks:
            line += frame.decompress(chunk)
            if b"\n" in line:
                return line[: line.index(b"\n")]
    except zstandard.ZstdError as error:
        raise StoreError(f"{key}: damaged: {error}") from error
    raise StoreError(f"{key}: damaged: it ends early")


class BytesCache(Generic[K, V]):
    """Keeps the values used last, up to `limit` bytes in sum, always at least the newest. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def get(self, key: K, load: Callable[[K], tuple[V, int]]) -> V:
        """The value of `key`; `load` gives it with its size in bytes when it is not kept."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][0]
        value, size = load(key)
        with self._lock:
            self._put(key, value, size)
        return value

    def _put(self, key: K, value: V, size: int) -> None:
        self._size += size - self._entries.pop(key, (None, 0))[1]
        self._entries[key] = (value, size)
        while self._size > self._limit and len(self._entries) > 1:
            self._size -= self._entries.popitem(last=False)[1][1]
