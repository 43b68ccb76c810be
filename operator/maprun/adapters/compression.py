"""Compressed bytes to the bytes inside, as they come: gzip and Zstandard, told by the key's extension (AWS page §1.5).

Rule 1: memory stays flat, however much a few bytes unpack to: what comes out is cut into pieces.
Rule 2: several members or frames in a row are one stream. So is nothing at all: an empty object is an empty dataset.
Rule 3: a stream is whole, or it is an error: a member that is cut off, a checksum that does not hold, other bytes
        behind the last member. Only zero bytes may stand there: they fill up the blocks of tapes and disks.
Rule 4: an error tells where in the compressed object it lies, to 16 KiB.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from maprun.errors import RunFailed, StatesError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP: Final = (".gz", ".gzip")
ZSTANDARD: Final = (".zst", ".zstd")
STEP: Final = 1 << 14  # compressed bytes that are looked at together
PIECE: Final = 1 << 18  # most bytes that come out at once
GZIP_FORM: Final = 16 + zlib.MAX_WBITS  # zlib's code for: a gzip header, and a checksum at the end


class Unpacker(Protocol):
    """One member: `zstd.ZstdDecompressor`, or what looks like it. Behind its end (`eof`) lies `unused_data`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def opened(key: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes inside an object of that key: unpacked where its extension, in small or capital letters, says so.

    Pieces have at most 256 KiB. `RunFailed` with `States.ItemReaderFailed` where the bytes are not what the key says.
    """
    if key.lower().endswith(GZIP):
        return _unpacked("gzip", _GzipMember, chunks)
    if key.lower().endswith(ZSTANDARD):
        return _unpacked("Zstandard", zstd.ZstdDecompressor, chunks)
    return iter(chunks)


def _unpacked(format_: str, member: Callable[[], Unpacker], chunks: Iterable[bytes]) -> Iterator[bytes]:
    stream = _Stream(format_, member)
    for chunk in chunks:
        for at in range(0, len(chunk), STEP):
            yield from stream.fed(chunk[at : at + STEP])
    stream.end()


class _Stream:
    """Members one behind the other. `_read` counts compressed bytes."""

    def __init__(self, format_: str, member: Callable[[], Unpacker]) -> None:
        self._format, self._new = format_, member
        self._member: Unpacker | None = None
        self._read = self._members = 0

    def fed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to."""
        start, self._read = self._read, self._read + len(data)
        while data or self._member:
            try:
                piece, data = self._step(data)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._wrong(f"broken between byte {start} and byte {self._read}", f": {error}") from None
            if piece:
                yield piece
            if self._member and self._member.needs_input:
                return

    def end(self) -> None:
        """There is nothing more."""
        if self._member:
            raise self._wrong(f"cut off behind byte {self._read}")

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        """The next piece, and what is left of the bytes: nothing but behind a member's end."""
        if not self._member:
            data = data.lstrip(b"\0") if self._members else data
            if not data:
                return b"", b""
            self._member = self._new()
            self._members += 1
        piece = self._member.decompress(data, PIECE)
        if not self._member.eof:
            return piece, b""
        data, self._member = self._member.unused_data, None
        return piece, data

    def _wrong(self, what: str, why: str = "") -> RunFailed:
        behind = f", behind {self._members - 1} whole members" if self._members > 1 else ""
        told = f"as {self._format}: it is {what} of the compressed object{behind}{why}"
        return RunFailed(StatesError.ITEM_READER_FAILED, f"The dataset cannot be unpacked {told}.")


class _GzipMember:
    """zlib's decompressor, made to look like the one of `zstd`: it keeps itself what it has not looked at yet."""

    def __init__(self) -> None:
        self._inside = zlib.decompressobj(GZIP_FORM)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inside.eof

    @property
    def unused_data(self) -> bytes:
        return self._inside.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inside.decompress(self._inside.unconsumed_tail + data, max_length)
        # A full piece may have more behind it, also where all input was looked at.
        self.needs_input = len(piece) < max_length and not self._inside.unconsumed_tail
        return piece
