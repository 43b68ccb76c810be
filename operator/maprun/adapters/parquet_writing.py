"""Outputs as Parquet files, in one pass: row group behind row group, each written out before the next is gathered.

Rule 1: the columns follow from the first outputs (core/result_columns.py) and are the same in all files of a run.
Rule 2: memory holds one row group and the outputs that the columns follow from, never more.
Rule 3: the same outputs give the same bytes, with the same release of pyarrow.
Rule 4: pyarrow is loaded only when a file is written; it comes with the extra `maprun[parquet]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from typing import Any, Final

from maprun.core.result_columns import RESCUED, Kind, Table, Type, columns_of, row_of
from maprun.errors import RunFailed, StatesError

GROUP_ROWS: Final = 50_000  # of a row group
GROUP_BYTES: Final = 8 << 20  # of the outputs in a row group, as JSON
SAMPLE_ROWS: Final = 10_000  # outputs that the columns follow from
SAMPLE_BYTES: Final = 8 << 20

NOT_INSTALLED: Final = "spec.resultWriter.writerConfig.outputType: PARQUET needs pyarrow; install maprun[parquet]"


def files(outputs: Iterator[bytes], limit: int) -> Iterator[Iterator[bytes]]:
    """The outputs, which are JSON, as files: streams of chunks, each to be read to its end before the next one begins.

    A file that has reached `limit` bytes is followed by another one. Without outputs there is no file.
    Errors: `RunFailed` with States.ResultWriterFailed when pyarrow is missing, or refuses the data.
    """
    first = next(outputs, None)
    if first is None:
        return
    arrow = _arrow()
    sample = _some(chain([first], outputs), SAMPLE_ROWS, SAMPLE_BYTES)
    table = Table(columns_of(map(row_of, sample)))
    schema = _schema(arrow, table)
    outputs = chain(sample, outputs)
    while group := _group(outputs, limit):
        yield _file(arrow, schema, table, group, outputs, limit)


def empty() -> bytes:
    """A file without rows. Errors: as `files`."""
    arrow, sink = _arrow(), Sink()
    arrow.parquet.ParquetWriter(sink, _schema(arrow, Table(()))).close()
    return sink.taken()


class Sink:
    """What pyarrow writes to: a file of which only the unread end is kept. `size` is how much was written in all."""

    closed = False

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []

    def write(self, data: Any) -> int:
        """Append."""
        self._chunks.append(bytes(data))
        self.size += len(self._chunks[-1])
        return len(self._chunks[-1])

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.size

    def flush(self) -> None:
        """There is nothing behind to write to."""

    def close(self) -> None:
        """The bytes stay, to be taken."""

    def taken(self) -> bytes:
        """What was written since this was last called."""
        taken = b"".join(self._chunks)
        self._chunks.clear()
        return taken


def _file(
    arrow: Any, schema: Any, table: Table, group: list[bytes], outputs: Iterator[bytes], limit: int
) -> Iterator[bytes]:
    sink = Sink()
    try:
        with arrow.parquet.ParquetWriter(sink, schema) as writer:
            while group:
                writer.write_batch(_batch(arrow, schema, table, group))
                yield sink.taken()
                group = [] if sink.size >= limit else _group(outputs, limit)
    except arrow.ArrowException as refused:
        cause = f"spec.resultWriter.writerConfig.outputType: the outputs cannot be written as Parquet: {refused}"
        raise RunFailed(StatesError.RESULT_WRITER_FAILED, cause) from refused
    yield sink.taken()


def _batch(arrow: Any, schema: Any, table: Table, group: list[bytes]) -> Any:
    columns = table.transposed(map(row_of, group))
    arrays = [arrow.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    return arrow.record_batch(arrays, schema=schema)


def _group(outputs: Iterator[bytes], limit: int) -> list[bytes]:
    """The outputs of the next row group; small files have small row groups, so that they end where they should."""
    return _some(outputs, GROUP_ROWS, min(GROUP_BYTES, limit))


def _some(outputs: Iterator[bytes], rows: int, size: int) -> list[bytes]:
    """The next outputs, up to a number and, by the last of them, a size in bytes."""
    some: list[bytes] = []
    while len(some) < rows and size > 0 and (output := next(outputs, None)) is not None:
        some.append(output)
        size -= len(output)
    return some


def _schema(arrow: Any, table: Table) -> Any:
    fields = [arrow.field(name, _type(arrow, kind)) for name, kind in table.columns]
    return arrow.schema([*fields, arrow.field(RESCUED, arrow.string())])


def _type(arrow: Any, kind: Kind) -> Any:
    if kind.type is Type.LIST and kind.element:
        return arrow.list_(_type(arrow, kind.element))
    if kind.type is Type.OBJECT:
        return arrow.struct([arrow.field(name, _type(arrow, field)) for name, field in kind.fields])
    plain = {Type.BOOLEAN: arrow.bool_, Type.INTEGER: arrow.int64, Type.NUMBER: arrow.float64}
    return plain.get(kind.type, arrow.string)()


def _arrow() -> Any:
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        raise RunFailed(StatesError.RESULT_WRITER_FAILED, NOT_INSTALLED) from None
