r"""Bytes of a CSV file to items: an object of strings for each row (AWS page §1.4, §12).

Rule 1: a cell in quotes keeps delimiters and line breaks, and "" in it is a quote. Outside, a quote stands for itself,
        but "" is one quote there as well (AWS's documented example). Text behind a closing quote belongs to the cell,
        its first character as it is.
Rule 2: a backslash makes the next character stand for itself, and is dropped: AWS knows \\, \" and the delimiter, and
        drops any other. It has no hold on a line break: that ends the row, or stays where it is inside quotes.
Rule 3: a row ends with LF, CRLF or CR. An empty line is a row of one empty cell; behind the last line break is no row.
Rule 4: a row that is too short is filled up with "", one that is too long is cut. Headers are taken as they are, an
        empty one too; each may be there once. A byte order mark before them is dropped. An empty file has no items.
Rule 5: memory stays flat, and every error is `States.ItemReaderFailed` with its line, counted from 1. The rows before
        it come first. A row has at most 8 MiB, and a quote that is never closed is an error.

Nearly every stretch of a real file needs no more than the csv module, or even `split`. `_careful` follows all rules,
and takes over where those would not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final

import msgspec

from maprun.core import lines
from maprun.core.decoding import BOM, MAX_ITEM
from maprun.core.tables import Table
from maprun.errors import RunFailed, StatesError

ROWS: Final = 1_000  # most rows of a block
DUPLICATES: Final = "CSV headers cannot contain duplicates."  # the exact text of AWS, §12

TOO_LARGE: Final = f"a row is larger than {MAX_ITEM >> 20} MiB"

_doubled: Final = re.compile('""')  # quicker than `in`
_escape: Final = re.compile(r'""|\\(.?)', re.DOTALL)


def rows(chunks: Iterable[bytes], delimiter: str, headers: Sequence[str] | None) -> Iterator[Table]:
    """The rows in blocks of at most 1,000, as objects by header. `headers` None: the first row has them.

    `delimiter` is one character. `RunFailed` with `States.ItemReaderFailed` for anything wrong.
    """
    names = None if headers is None else _distinct(list(headers))
    for block in _records(chunks, delimiter):
        if names is None:
            names = _distinct(block.pop(0) or [""])
        for at in range(0, len(block), ROWS):
            yield _objects(names, block[at : at + ROWS])


def _distinct(headers: list[str]) -> list[str]:
    if len(set(headers)) < len(headers):
        raise RunFailed(StatesError.ITEM_READER_FAILED, DUPLICATES)
    return headers


def _objects(headers: list[str], block: list[list[str]]) -> Table:
    """The cells by header; the rows of the block are filled up in place."""
    if min(map(len, block)) < len(headers):
        for row in block:
            row.extend(repeat("", len(headers) - len(row)))
    return Table(tuple(headers), block)


class _Parsed(msgspec.Struct):
    """The rows of a text up to `end`, where one begins that the text cuts off, or that is `wrong`."""

    rows: list[list[str]]
    end: int
    wrong: str = ""


def _records(chunks: Iterable[bytes], delimiter: str) -> Iterator[list[list[str]]]:
    """Rows of cells, in blocks that are never empty. An empty line may be an empty list."""
    text, line, wanted = "", 1, 0
    for piece, wrong in _texts(chunks):
        text += piece
        if len(text) < wanted and not wrong:
            continue  # a long row: look again when there is twice as much, so that the work stays linear
        parsed = _parsed(text, delimiter)
        if parsed.rows:
            yield parsed.rows
        line += _breaks(text[: parsed.end])
        text = text[parsed.end :]
        _check(text, line, parsed.wrong)
        if wrong:
            raise _failed(line + _breaks(text), wrong)
        wanted = 2 * len(text)
    yield from _last(text, line, delimiter)


def _last(text: str, line: int, delimiter: str) -> Iterator[list[list[str]]]:
    """What is left at the end of the file: rows, of which the last may have no line break."""
    parsed = _parsed(text + "\n" if text and not text.endswith("\n") else text, delimiter)
    if parsed.rows:
        yield parsed.rows
    if parsed.end < len(text):
        line += _breaks(text[: parsed.end])
        _check(text[parsed.end :], line, parsed.wrong)
        raise _failed(line, "a quote is opened and never closed")


def _texts(chunks: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Whole lines of text, and what is wrong behind the last of them."""
    at = 0
    for block in lines.blocks(chunks, MAX_ITEM + len("\r"), old_mac=True):
        wrong = ""
        try:
            text = block.decode()
        except UnicodeDecodeError as error:
            text = block[: error.start].decode()
            wrong = f"byte {at + error.start} of the file, 0x{block[error.start]:02x}, is not UTF-8"
        yield text if at else text.removeprefix(BOM), wrong
        at += len(block)


def _check(text: str, line: int, wrong: str = "") -> None:
    """Fails for what is wrong with the row that begins here, or when it is too large already."""
    if wrong or _is_large(text.removesuffix("\r")):
        raise _failed(line, wrong or TOO_LARGE)


def _parsed(text: str, delimiter: str) -> _Parsed:
    """The rows that end within the text."""
    found = None if len(text) * 4 > MAX_ITEM else _quick(text, delimiter)
    return found or _careful(text, delimiter)


def _quick(text: str, delimiter: str) -> _Parsed | None:
    """The same for a text that the standard library reads by our rules; None for any other."""
    escapes = "\\" in text
    if escapes and ("\\\n" in text or "\\\r" in text):
        return None
    if "\r" in text and text.count("\r") != text.count("\r\n"):
        return None
    end = text.rfind("\n") + 1
    text = text[:end]
    if escapes or '"' in text:
        return _by_csv(text, delimiter)
    return _Parsed([*map(str.split, text.replace("\r\n", "\n").split("\n")[:-1], repeat(delimiter))], end)


def _by_csv(text: str, delimiter: str) -> _Parsed | None:
    """The rows by the csv module. It keeps "" outside of quotes as two, and has a limit for a cell."""
    cut = [line + "\n" for line in text.split("\n")]
    cut[-1] = ""  # makes an empty row of its own, unless it falls into quotes that go on
    try:
        found = list(csv.reader(cut, delimiter=delimiter, escapechar="\\"))
    except csv.Error:
        return None
    if _doubled.search(text) and _doubled.search("\0".join(map("\0".join, found))):
        return None
    going_on = sum(cell.count("\n") for cell in found.pop())
    return _Parsed(found, len(text) - sum(map(len, cut[len(cut) - 1 - going_on :])))


def _careful(text: str, delimiter: str) -> _Parsed:
    """The rows by the rules themselves."""
    cell = _cell(delimiter)
    found: list[list[str]] = []
    start = 0
    while row := _row(text, start, cell, delimiter):
        cells, end = row
        if _is_large(text[start:end]):
            return _Parsed(found, start, TOO_LARGE)
        found.append(cells)
        start = end + (2 if text.startswith("\r\n", end) else 1)
    return _Parsed(found, start)


def _row(text: str, at: int, cell: re.Pattern[str], delimiter: str) -> tuple[list[str], int] | None:
    """The row that begins here, and the place of its line break; None when there is none."""
    cells: list[str] = []
    while at < len(text):
        match = cell.match(text, at)
        assert match, "every part of the pattern may be empty"
        quoted, behind, plain = match.groups()
        at = match.end()
        if (quoted is None and plain.startswith('"')) or at == len(text):
            return None
        cells.append(_unescaped(quoted or "") + (behind or "") + _unescaped(plain))
        if text[at] != delimiter:
            return cells, at
        at += 1
    return None


@lru_cache
def _cell(delimiter: str) -> re.Pattern[str]:
    """One cell: what is in quotes, the first character behind them, and the rest."""
    end = re.escape(delimiter) + r"\r\n"
    quoted = rf'"((?:[^"\\]++|""|\\.)*+)"([^{end}]?)'
    return re.compile(rf"(?:{quoted})?((?:[^{end}\\]++|\\[^\r\n]|\\(?![^\r\n]))*+)", re.DOTALL)


def _unescaped(text: str) -> str:
    return _escape.sub(lambda found: '"' if found[1] is None else found[1], text)


def _is_large(text: str) -> bool:
    return len(text) * 4 > MAX_ITEM and len(text.encode()) > MAX_ITEM


def _breaks(text: str) -> int:
    """How many lines end in the text."""
    returns = text.count("\r") - text.count("\r\n") if "\r" in text else 0
    return text.count("\n") + returns


def _failed(line: int, message: str) -> RunFailed:
    return RunFailed(StatesError.ITEM_READER_FAILED, f"The dataset cannot be read as CSV at line {line}: {message}.")
