"""Bytes of a JSON file to items, one at a time: an array's elements or an object's members (AWS page §1.2, §1.3).

Rule 1: memory stays flat: at most one item (8 MiB) and one chunk are held, whatever the file's size.
Rule 2: numbers survive: integers exactly, up to 4,300 digits; others as the nearest double, and one beyond its range is
        an error.
Rule 3: every error is `States.ItemReaderFailed` and tells the byte at which the file stops being right.
Rule 4: reading stops where it may: when nobody asks for more, and behind the end of the array or object that
        `pointer` names. Only when that is the whole document, anything but white space behind it is an error.

The scanner of the standard library reads one value out of a window of text; a value that the window cuts off is read
again with at least twice the text, so that the work stays linear. (ijson with floats refuses integers above 64 bits,
and with decimals makes each number dearer than this makes a whole row.)
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from maprun.errors import RunFailed, StatesError

MAX_ITEM: Final = 8 << 20  # bytes of one item as it is read, §1.5
MAX_SKIPPED: Final = 16 << 20  # bytes before the target of a pointer, §1.2
NOT_ITERABLE: Final = "Attempting to map over non-iterable node."  # the exact text of AWS, §12
CUT: Final = 10  # characters at a window's end in which an error may come from the cut: -Infinity, 1e+, \uD83D
BOM: Final = "\ufeff"

_space = re.compile(r"[ \t\r\n]*")
_index = re.compile(r"0|[1-9][0-9]{0,17}")


class _Refused(ValueError):
    """A number that JSON cannot hold."""


def items(chunks: Iterable[bytes], pointer: str = "") -> Iterator[tuple[str | None, Any]]:
    """(key, value) of each item; the key of an array's element is None.

    `pointer` is a JSON Pointer (RFC 6901), "" the whole document. `RunFailed` with `States.ItemReaderFailed` for
    anything wrong.
    """
    text = _Window(chunks)
    for token in pointer.split("/")[1:]:
        _enter(text, token.replace("~1", "/").replace("~0", "~"), pointer)
    opening = text.peek()
    if opening not in ("[", "{"):
        text.value(MAX_ITEM)  # so that what is not even JSON is called so
        raise RunFailed(StatesError.ITEM_READER_FAILED, NOT_ITERABLE)
    for key in _elements(text) if opening == "[" else _members(text):
        yield key, text.value(MAX_ITEM)
    if not pointer:
        text.end()


def value_of(line: bytes, number: int, byte: int) -> Any:
    """The JSON value that a line holds by itself. The line has that number, and begins at that byte of the file."""
    text = _Window([line], byte, number)
    value = text.value(MAX_ITEM)
    text.end()
    return value


def _enter(text: _Window, token: str, pointer: str) -> None:
    """Go to the value that one part of the pointer names, past all before it."""
    opening = text.peek()
    if opening == "{":
        places: Iterator[str] = _members(text)
    elif opening == "[" and _index.fullmatch(token):
        places = (str(index) for index, _ in enumerate(_elements(text)))
    else:
        raise text.failed(f"the pointer {pointer!r} leads to nothing: there is no {token!r} in {_kind(opening)}")
    for place in places:
        if place == token:
            return
        text.value(MAX_SKIPPED)
        if text.base > MAX_SKIPPED:
            raise text.failed(f"the target of the pointer {pointer!r} must begin in the first {MAX_SKIPPED >> 20} MiB")
    raise text.failed(f"the pointer {pointer!r} leads to nothing: there is no {token!r} in {_kind(opening)}")


def _elements(text: _Window) -> Iterator[None]:
    """Stops before each element of the array that begins here; whoever asks for the next one has read it."""
    text.take("[", "")
    if text.peek() == "]":
        text.take("]", "")
        return
    while True:
        yield None
        if text.take(",]", "behind an array's element") == "]":
            return


def _members(text: _Window) -> Iterator[str]:
    """The same for an object: stops behind each key."""
    text.take("{", "")
    if text.peek() == "}":
        text.take("}", "")
        return
    while True:
        if text.peek() != '"':
            text.take('"', "before an object's key")
        key = text.value(MAX_ITEM)
        text.take(":", "behind an object's key")
        yield key
        if text.take(",}", "behind an object's member") == "}":
            return


class _Window:
    """A stretch of the text, and where we are in it. `base`: the byte where it begins; `line`: that alone is read."""

    def __init__(self, chunks: Iterable[bytes], base: int = 0, line: int = 0) -> None:
        self.base = base
        self._line = line
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._whole = False
        self._grow()
        self._at = 1 if self._text.startswith(BOM) else 0

    def peek(self) -> str:
        """Go to the next character that is not white space, and return it; "" at the end."""
        while True:
            match = _space.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._whole:
                return ""
            self._grow()

    def take(self, expected: str, where: str) -> str:
        """Pass one of the `expected` characters and return it."""
        found = self.peek()
        if not found or found not in expected:
            raise self.failed(f"expected {' or '.join(expected)} {where}, found {self._shown(found)}")
        self._at += 1
        return found

    def value(self, limit: int) -> Any:
        """The value that begins here; at most `limit` bytes of text."""
        self.peek()
        while (found := self._scanned()) is None:
            if len(self._text) - self._at > limit:
                raise self._too_large(limit)
            self._grow()
        value, end = found
        if (end - self._at) * 4 > limit and len(self._text[self._at : end].encode()) > limit:
            raise self._too_large(limit)
        self._at = end
        return value

    def end(self) -> None:
        """Nothing but white space may follow."""
        if found := self.peek():
            raise self.failed(f"found {self._shown(found)} behind the end of the document")

    def failed(self, message: str) -> RunFailed:
        """The error with the byte at which we are."""
        return self._failed(self.base + len(self._text[: self._at].encode()), message)

    def _scanned(self) -> tuple[Any, int] | None:
        """The value here and where it ends; None when the window may have cut it off."""
        try:
            value, end = _scan(self._text, self._at)
        except json.JSONDecodeError as error:
            if self._whole or not self._is_cut(error):
                raise self._broken(error) from None
            return None
        except (ValueError, RecursionError) as error:
            raise self.failed(_refusal(error)) from None
        return (value, end) if self._whole or end + CUT <= len(self._text) else None

    def _grow(self) -> None:
        """Drop what is passed, then read as much as is left: so scanning it again costs no more than reading it."""
        self.base += len(self._text[: self._at].encode())
        pieces = [self._text[self._at :]]
        self._at = 0
        wanted = max(1, len(pieces[0]))
        while wanted > 0 and not self._whole:
            piece = self._decoded(next(self._chunks, None), pieces)
            pieces.append(piece)
            wanted -= len(piece)
        self._text = "".join(pieces)

    def _decoded(self, chunk: bytes | None, before: list[str]) -> str:
        self._whole = chunk is None
        try:
            return self._decoder.decode(chunk or b"", final=self._whole)
        except UnicodeDecodeError as error:
            at = self.base + len("".join(before).encode()) + error.start
            raise self._failed(at, f"byte 0x{error.object[error.start]:02x} is not UTF-8") from None

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """True when the value may only look broken because the window ends."""
        return error.msg.startswith("Unterminated string") or error.pos + CUT >= len(self._text)

    def _broken(self, error: json.JSONDecodeError) -> RunFailed:
        self._at = error.pos
        open_string = error.msg.startswith("Unterminated string")
        found = "it does not end" if open_string else f"found {self._shown(self._text[self._at :][:1])}"
        return self.failed(f"{_expected(error.msg)}; {found}")

    def _too_large(self, limit: int) -> RunFailed:
        return self.failed(f"one value is larger than {limit >> 20} MiB")

    def _failed(self, at: int, message: str) -> RunFailed:
        place = f"line {self._line}, byte {at}" if self._line else f"byte {at}"
        return RunFailed(StatesError.ITEM_READER_FAILED, f"The dataset cannot be read as JSON at {place}: {message}.")

    def _shown(self, found: str) -> str:
        return repr(found) if found else "the end of the line" if self._line else "the end of the file"


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {text[:40]} is too large")
    return value


def _constant(text: str) -> Any:
    raise _Refused(f"{text} is not a JSON number")


_scan = json.JSONDecoder(parse_float=_float, parse_constant=_constant).raw_decode


def _refusal(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "the value is nested too deeply"
    return str(error) if isinstance(error, _Refused) else "an integer has more than 4,300 digits"


def _expected(message: str) -> str:
    """The standard library's message without its "at", which a number would follow."""
    return (message[:1].lower() + message[1:]).removesuffix(" at").removesuffix(" starting")


def _kind(opening: str) -> str:
    return {"{": "an object", "[": "an array", "": "an empty file"}.get(opening, "a value that is neither of both")
