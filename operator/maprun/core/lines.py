"""Chunks of bytes, however they were cut, to blocks of whole lines: what the readers of CSV and JSON Lines work on.

Rule 1: memory stays flat: a block has some 64 KiB, or is one longer line; a line beyond `limit` is not read to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

SIZE: Final = 1 << 16  # bytes of a block: what is made of it stays in the processor's cache


def blocks(chunks: Iterable[bytes], limit: int, old_mac: bool = False) -> Iterator[bytes]:
    """The same bytes in blocks that end behind a line feed, but for the last, and for one line longer than `limit`.

    `old_mac`: where there is no line feed, a block may also end behind a carriage return that no line feed follows.
    """
    rest = bytearray()
    for piece in _pieces(chunks):
        before = len(rest)
        rest += piece
        end = rest.rfind(b"\n", before) + 1
        if not end and old_mac:
            end = rest.rfind(b"\r", 0, len(rest) - 1) + 1  # behind the last byte there may be its line feed
        if end or len(rest) > limit:
            end = end or len(rest)
            yield bytes(rest[:end])
            del rest[:end]
    if rest:
        yield bytes(rest)


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Small chunks joined, large ones divided: each has `SIZE` bytes, but for the last."""
    joined = bytearray()
    for chunk in chunks:
        joined += chunk
        for at in range(0, len(joined) - SIZE + 1, SIZE):
            yield bytes(joined[at : at + SIZE])
        del joined[: len(joined) // SIZE * SIZE]
    if joined:
        yield bytes(joined)
