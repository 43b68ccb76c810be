"""Bytes of JSON Lines to items: one value of any kind in each line (AWS page §1.3).

Rule 1: a line is one JSON value in UTF-8, with white space around it. A line of white space alone is passed over, and
        so is a byte order mark.
Rule 2: numbers survive as in core/decoding.py, whose decoder has the last word on a line that the quick one refuses.
Rule 3: memory stays flat, and every error is `States.ItemReaderFailed` with line, counted from 1, and byte. The values
        before it come first. A line has at most 8 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from maprun.core import decoding, lines
from maprun.core.decoding import MAX_ITEM
from maprun.errors import RunFailed, StatesError

VALUES: Final = 1_000  # most values of a block
SPACE: Final = b" \t\r"

_decode = msgspec.json.Decoder().decode


def values(chunks: Iterable[bytes]) -> Iterator[list[Any]]:
    """The values in blocks of at most 1,000, none empty. `RunFailed` with `States.ItemReaderFailed`."""
    number, byte = 1, 0
    for block in lines.blocks(chunks, MAX_ITEM + len("\r")):
        cut = block.split(b"\n")
        if not cut[-1]:
            cut.pop()  # behind the last line feed is no line
        for at in range(0, len(cut), VALUES):
            part = cut[at : at + VALUES]
            found, wrong = _values(part, number, byte)
            if found:
                yield found
            if wrong:
                raise wrong
            number += len(part)
            byte += sum(map(len, part)) + len(part)


def _values(cut: list[bytes], number: int, byte: int) -> tuple[list[Any], RunFailed | None]:
    """The values of some lines, up to one that is wrong, and what is wrong with it."""
    if max(map(len, cut)) <= MAX_ITEM:
        try:
            return [*map(_decode, cut)], None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # an empty line, or what only the other decoder may refuse
    return _one_by_one(cut, number, byte)


def _one_by_one(cut: list[bytes], number: int, byte: int) -> tuple[list[Any], RunFailed | None]:
    found: list[Any] = []
    for line in cut:
        try:
            if line.strip(SPACE):
                found.append(_value(line, number, byte))
        except RunFailed as failed:
            return found, failed
        number += 1
        byte += len(line) + 1
    return found, None


def _value(line: bytes, number: int, byte: int) -> Any:
    if len(line.removesuffix(b"\r")) > MAX_ITEM:
        cause = f"The dataset cannot be read as JSON at line {number}, byte {byte}: it has more than 8 MiB."
        raise RunFailed(StatesError.ITEM_READER_FAILED, cause)
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decoding.value_of(line, number, byte)
