"""Values and errors of jsonata-python, as JSON and in the words of AWS.

Rule 1: results are plain JSON values of their own, no larger and no deeper than what may be kept.
Rule 2: AWS's bound of memory: a little under 7 MB in one value (measured: 873,782 numbers, or 2^22 characters, fit).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec
from jsonata import jexception
from jsonata.utils import Utils

from maprun.core import nesting

MAX_HELD: Final = 6_990_256  # bytes: 8 for each element of an array, 1 for each character
NOTHING: Final = object()  # the result of an expression that gives nothing


class OutOfBounds(Exception):
    """The expression goes beyond a bound, or a function cannot take its arguments; the text goes into the cause."""


class NoJson(Exception):
    """A result holds a function."""


def held(value: str | Sequence[Any]) -> None:
    """`OutOfBounds` for a text or an array that is too large."""
    length = len(value) - isinstance(value, Utils.RangeList)  # which counts one too many
    if length * (1 if isinstance(value, str) else 8) > MAX_HELD:
        too_large()


def too_large() -> NoReturn:
    """Memory is what the expression asks too much of."""
    raise OutOfBounds("Expression evaluation memory limit exceeded: Check for excessive memory usage")


def plain(result: Any) -> Any:
    """A result of the library as JSON values of its own, or `NOTHING`. `OutOfBounds` when it is too large.

    What is nothing inside an array or an object is left out, as JSONata does.
    """
    return _plain(result, [MAX_HELD], 0)


def _plain(value: Any, left: list[int], depth: int) -> Any:
    if value is None:
        return NOTHING
    if value is Utils.NULL_VALUE:
        return None
    left[0] -= 8 + (len(value) if isinstance(value, str) else 0)
    if left[0] < 0 or depth > nesting.MAX_NESTING:
        too_large()
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, list):
        return [None if each is None else _plain(each, left, depth + 1) for each in value]
    if isinstance(value, dict):
        return {str(key): None if each is None else _plain(each, left, depth + 1) for key, each in value.items()}
    raise NoJson


_NOT_FINITE: Final = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


_ELEMENTS: Final = {"a": "arrays", "b": "booleans", "f": "functions", "n": "numbers", "o": "objects", "s": "strings"}
_PLACEHOLDER: Final = re.compile(r"(\{\{\{?)(\w+)\}?\}\}")


def told(error: jexception.JException) -> str:
    """Code and message as JSONata writes them. The library's own messages say Object where others say function."""
    code = error.get_error()
    template = jexception.JException.error_codes.get(code)
    if template is None:
        return f": {code}"
    values = [value for value in (error.current, error.expected, error.extra) if value is not None]
    if code == "T0412":
        values[-1] = _ELEMENTS.get(values[-1], values[-1])

    def filled(match: re.Match[str]) -> str:
        value = values.pop(0) if values else None
        return str(value) if match[1] == "{{{" else _quoted(value)

    message = _PLACEHOLDER.sub(filled, re.sub(r"\bObject\b(?! structure| definition)", "function", template))
    return f". {code}: {message}"


def _quoted(value: Any) -> str:
    try:
        return msgspec.json.encode(plain(value)).decode()[:200]
    except (NoJson, OutOfBounds, TypeError, UnicodeError):
        return "…"
