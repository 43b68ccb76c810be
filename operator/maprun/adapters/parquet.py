"""A Parquet file to items, one for each row: objects by column name (AWS page §1.3, §1.5). Types: parquet_cells.py.

Rule 1: memory stays flat. A row group of at most 32 MiB is fetched by one request, a larger one column by column in
        small pieces; its rows are made some at a time.
Rule 2: AWS's limits hold: a row group has at most 256 MB in the file, and the footer 5 MB.
Rule 3: whatever is wrong with the file is `States.ItemReaderFailed`, with the row group where there is one. Compression
        inside is Parquet's own, whatever the extension says. Encrypted files are refused.
Rule 4: pyarrow is loaded only when a file is read; it comes with the extra `maprun[parquet]`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import SEEK_CUR, SEEK_END, SEEK_SET
from typing import Any, Final

import msgspec

from maprun.core.tables import Table
from maprun.errors import MapRunError, RunFailed, StatesError
from maprun.ports import RandomAccess

MAX_FOOTER: Final = 5 << 20
MAX_GROUP: Final = 256 << 20  # bytes of a row group in the file, that is, compressed
WINDOW: Final = 32 << 20  # bytes of a row group that are fetched at once
PIECES: Final = 48 << 20  # bytes of all columns together that are held of a larger row group
PIECE: Final = (1 << 18, 4 << 20)  # least and most bytes of one column that are fetched at once
BUFFER: Final = 1 << 16  # bytes of pyarrow's own buffer for a column: with one it does not read the column as a whole

BLOCK_ROWS: Final = 1_000  # most rows that are made at once
BLOCK_BYTES: Final = 1 << 20  # of such rows in memory, by the row group's average

TAIL: Final = 8  # bytes behind the footer: its length, and the file's mark
MARK: Final = b"PAR1"
ENCRYPTED: Final = b"PARE"

NOT_INSTALLED: Final = "spec.itemReader.readerConfig.inputType: PARQUET needs pyarrow; install maprun[parquet]"


def rows(file: RandomAccess) -> Iterator[Table]:
    """The rows of a file in blocks of at most 1,000, none empty.

    Errors: `RunFailed` with `States.ItemReaderFailed`; whatever the file raises.
    """
    if find_spec("pyarrow") is None:
        raise RunFailed(StatesError.ITEM_READER_FAILED, NOT_INSTALLED)
    window = _Window(file)
    with _errors(window):
        opened = _open(window)
    for number in range(opened.groups):
        with _errors(window, f"row group {number}: "):
            for batch in opened.batches(number):
                columns = [read(column) for read, column in zip(opened.cells, batch.columns, strict=True)]
                yield Table(opened.names, [*zip(*columns, strict=True)] if columns else [()] * batch.num_rows)


@contextmanager
def _errors(window: _Window, where: str = "") -> Iterator[None]:
    """What pyarrow says about the file in AWS's words; what the store said while pyarrow read, as it was."""
    import pyarrow as arrow

    try:
        yield
    except MapRunError:
        raise
    except (arrow.ArrowException, OSError, ValueError, OverflowError, NotImplementedError) as error:
        if window.failed:
            raise window.failed from None
        raise _wrong(f"{where}{_told(error)}") from error


def _told(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{text[:500]}; encrypted files cannot be read" if "crypt" in text.lower() else text[:500]


def _wrong(what: str) -> RunFailed:
    return RunFailed(StatesError.ITEM_READER_FAILED, f"The dataset cannot be read as Parquet: {what}.")


def _open(window: _Window) -> _Opened:
    from pyarrow import parquet

    from maprun.adapters import parquet_cells

    _load_footer(window)
    metadata = parquet.read_metadata(window)
    leaves = (metadata.schema.column(number).logical_type.type for number in range(metadata.num_columns))
    fields = list(parquet.ParquetFile(window, metadata=metadata).schema_arrow)
    names = parquet_cells.distinct([field.name for field in fields])
    return _Opened(window, metadata, names, tuple(parquet_cells.cells_of(field.type, leaves) for field in fields))


def _load_footer(window: _Window) -> None:
    """Have the end of the file at hand. What it says of itself is checked before pyarrow believes it."""
    size = window.size
    if size < len(MARK) + TAIL:
        raise _wrong(f"it has {size} bytes, and a Parquet file has more")
    window.hold([(max(0, size - (1 << 16)), size)])
    window.seek(size - TAIL)
    length, mark = int.from_bytes(window.read(4), "little"), window.read(4)
    if mark == ENCRYPTED:
        raise _wrong("its footer is encrypted; encrypted files cannot be read")
    if mark != MARK or length + TAIL > size:
        raise _wrong("it does not end as a Parquet file does; it may be cut off, or of another format")
    if length > MAX_FOOTER:
        raise _wrong(f"its footer has {length:,} bytes; it may have {MAX_FOOTER >> 20} MiB")
    if length + TAIL > 1 << 16:
        window.hold([(size - length - TAIL, size)])


class _Opened(msgspec.Struct, frozen=True):
    """A file whose footer was read: pyarrow's metadata, and of each column its name and how its cells are read."""

    window: _Window
    metadata: Any
    names: tuple[str, ...]
    cells: tuple[Any, ...]

    @property
    def groups(self) -> int:
        """Number of row groups."""
        return int(self.metadata.num_row_groups)

    def batches(self, number: int) -> Iterator[Any]:
        """The rows of a row group as pyarrow's batches, none empty."""
        from pyarrow import parquet

        group = self.metadata.row_group(number)
        # pyarrow ends the process when it is asked about a broken column that it has not checked. It checks all of them
        # before it reads, so that is when we ask.
        self.window.hold_later(lambda: self._spans(group))
        reader = parquet.ParquetFile(
            self.window,
            metadata=self.metadata,
            buffer_size=BUFFER,
            pre_buffer=False,  # it holds the row group as a whole, whatever its size
            coerce_int96_timestamp_unit="us",  # nanoseconds reach from 1677 to 2262 alone
            page_checksum_verification=True,
        )
        average = group.total_byte_size // max(1, group.num_rows)
        size = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, average)))
        batches = reader.iter_batches(size, row_groups=[number], use_threads=False)
        return (batch for batch in batches if batch.num_rows)

    def _spans(self, group: Any) -> tuple[list[tuple[int, int]], int]:
        """What to hold: a small row group as a whole, of a larger one a piece of each column."""
        chunks = [group.column(number) for number in range(group.num_columns)]
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        spans = [(start, start + chunk.total_compressed_size) for start, chunk in zip(starts, chunks, strict=True)]
        if any(not 0 <= start <= end <= self.window.size for start, end in spans):
            raise ValueError("the footer tells of bytes that the file does not have")
        if (size := sum(end - start for start, end in spans)) > MAX_GROUP:
            raise ValueError(f"it has {size:,} bytes; it may have {MAX_GROUP >> 20} MiB")
        first, last = min(starts), max(end for _, end in spans)
        if last - first <= WINDOW:
            return [(first, last)], WINDOW
        return spans, max(PIECE[0], min(PIECE[1], PIECES // len(chunks)))


class _Window:
    """What pyarrow reads from: the file, of which some spans are held. `failed`: why the store could not read."""

    closed = False

    def __init__(self, file: RandomAccess) -> None:
        self.size = file.size
        self.failed: MapRunError | None = None
        self._file, self._at = file, 0
        self.hold([])

    def hold(self, spans: list[tuple[int, int]], piece: int = WINDOW) -> None:
        """From now on fetch what lies in these spans, from byte to byte, so many bytes at once, and hold that: of each
        span one piece, of all others none. A span that fits into a piece is fetched as a whole.
        """
        self._spans, self._piece = sorted(spans), piece
        self._held: dict[int, tuple[int, bytes]] = {}
        self._later: Callable[[], tuple[list[tuple[int, int]], int]] | None = None

    def hold_later(self, spans: Callable[[], tuple[list[tuple[int, int]], int]]) -> None:
        """The same with what this tells, asked before the next byte is read."""
        self.hold([])
        self._later = spans

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        start = self._at
        end = self.size if size < 0 else min(self.size, start + size)
        self._at = max(start, end)
        if start >= end:
            return b""
        if self._later:
            self.hold(*self._later())
        at = bisect_right(self._spans, (start, self.size)) - 1
        if at < 0 or end > self._spans[at][1]:
            return self._fetched(start, end)
        first, held = self._held.get(at, (0, b""))
        if not first <= start < end <= first + len(held):
            first, held = self._held[at] = self._piece_at(at, start, end)
        return held[start - first : end - first]

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to another place."""
        self._at = {SEEK_SET: 0, SEEK_CUR: self._at, SEEK_END: self.size}[whence] + offset
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def close(self) -> None:
        """Whoever opened the file closes it."""

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is not."""
        return False

    def _piece_at(self, at: int, start: int, end: int) -> tuple[int, bytes]:
        """Another piece of a span, in place of the one held: it begins where it is wanted."""
        self._held.pop(at, None)  # first: two of them at once would be too much
        first, last = self._spans[at]
        if last - first > self._piece:
            first, last = start, min(last, max(end, start + self._piece))
        return first, self._fetched(first, last)

    def _fetched(self, start: int, end: int) -> bytes:
        try:
            return self._file.read_at(start, end - start)
        except MapRunError as error:
            self.failed = error
            raise
