"""The forms of results (`aws-distributed-map.md` §5.1, §12): what becomes of an output, and how a file holds records.

Rule 1: only the outputs of children that succeeded are transformed. A failed or pending child keeps its record.
Rule 2: an output is copied as the child wrote it, on one line. Only FLATTEN takes one apart, and only its outer array.
Rule 3: nothing here holds more than one output; records pass through as streams.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from maprun.core.results import SUCCEEDED
from maprun.fields import PAYLOAD_LIMIT
from maprun.model_writing import OutputType, ResultWriter, Transformation

_ARRAY: Final = b"["
_BLANKS: Final = b" \t\r\n"

_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Layout(NamedTuple):
    """How a text file holds records: what stands before the first, between two, and behind the last."""

    before: bytes
    between: bytes
    behind: bytes


ARRAY: Final = Layout(b"[", b",", b"]")
LINES: Final = Layout(b"", b"\n", b"\n")
LAYOUTS: Final = {OutputType.JSON: ARRAY, OutputType.JSONL: LINES}


def transformation(writer: ResultWriter | None) -> Transformation:
    """The transformation that was asked for; by default NONE with a resource, COMPACT without (§5.1)."""
    if writer is None:
        return Transformation.COMPACT
    default = Transformation.NONE if writer.resource else Transformation.COMPACT
    return writer.writer_config.transformation or default


def output_type(writer: ResultWriter | None, category: str = SUCCEEDED) -> OutputType:
    """The format of a category's files; with PARQUET, which holds outputs only, records of other children are JSON."""
    asked = writer.writer_config.output_type if writer else OutputType.JSON
    return OutputType.JSON if asked is OutputType.PARQUET and category != SUCCEEDED else asked


def file_name(category: str, number: int, kind: OutputType) -> str:
    """`SUCCEEDED_0.json`: numbers count from 0, the extension follows the format (§5.2)."""
    return f"{category}_{number}.{kind.value.lower()}"


def records_of(form: Transformation, output: bytes) -> Iterator[bytes]:
    """What COMPACT and FLATTEN make of one output, which is JSON; nothing written is null."""
    line = _one_line(output or b"null")
    if form is Transformation.FLATTEN and line.lstrip(_BLANKS).startswith(_ARRAY):
        return (bytes(element) for element in _elements(line))
    return iter((line,))


def files(layout: Layout, records: Iterator[bytes], limit: int) -> Iterator[Iterator[bytes]]:
    """The records as files, each a stream of chunks that must be read to its end before the next one is asked for.

    A file that has reached `limit` bytes is followed by another one. Without records there is no file.
    """
    while (first := next(records, None)) is not None:
        yield _file(layout, records, first, limit)


def empty(kind: OutputType) -> bytes:
    """A text file without records."""
    return b"[]" if kind is OutputType.JSON else b""


def _file(layout: Layout, records: Iterator[bytes], first: bytes, limit: int) -> Iterator[bytes]:
    size = len(layout.before) + len(first) + len(layout.behind)
    yield layout.before + first
    while size < limit and (record := next(records, None)) is not None:
        size += len(layout.between) + len(record)
        yield layout.between + record
    yield layout.behind


def inline(kind: OutputType, records: Iterable[bytes]) -> bytes | None:
    """The result of a run without a bucket: an array, or with JSONL one string that holds the lines.

    None when it is larger than `PAYLOAD_LIMIT`; the records behind are not read then.
    """
    kept, size = [], 1
    for record in records:
        size += len(record) + 1
        if size > PAYLOAD_LIMIT:
            return None
        kept.append(record)
    if kind is OutputType.JSON:
        return b"[" + b",".join(kept) + b"]"
    lines = msgspec.json.encode(b"".join(record + b"\n" for record in kept).decode())
    return lines if len(lines) <= PAYLOAD_LIMIT else None


def _one_line(output: bytes) -> bytes:
    return msgspec.json.format(output, indent=-1) if b"\n" in output or b"\r" in output else output
